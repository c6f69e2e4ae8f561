// What a model gets from a real machine through MCP: a chart that is a PNG, a table, files, forks, and a call that it can take back.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type RunningServer, loadConfig, startServer } from '@bulkhead/server';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { eventually } from './support.ts';

let server: RunningServer;
let client: Client;
let home: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'bulkhead-mcp-'));
  const config = loadConfig(
    { ...process.env, BULKHEAD_STATE_DIR: home },
    { BULKHEAD_PORT: '0', BULKHEAD_RUNTIME: 'qemu' },
  );
  server = await startServer(config, { version: 'test', onProgress: (message) => console.error(message) });
  await server.ready;
  client = new Client({ name: 'test', version: '1' });
  const headers = { authorization: `Bearer ${server.first?.secret ?? ''}` };
  await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', server.url), { requestInit: { headers } }));
});

after(async () => {
  await client.close();
  await server.close();
  await rm(home, { recursive: true, force: true });
});

async function call(name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> {
  return (await client.callTool({ name, arguments: args })) as CallToolResult;
}

function member({ structuredContent, content }: CallToolResult, name: string): unknown {
  assert.ok(structuredContent !== undefined, JSON.stringify(content));
  return structuredContent[name];
}

function textOf({ content }: CallToolResult): string {
  return content.map((each) => (each.type === 'text' ? each.text : `[${each.type}]`)).join('\n');
}

test('a chart is an image, a data frame a table, and variables live on', async () => {
  await call('run_code', {
    code: 'import pandas as pd\nframe = pd.DataFrame({"year": [2024, 2025], "sum": [1.5, 2.5]})',
  });
  const chart = await call('run_code', {
    code: 'import matplotlib.pyplot as plt\nplt.plot(frame["year"], frame["sum"]); plt.title("sums"); None',
  });
  assert.equal(chart.isError, undefined, textOf(chart));
  const image = chart.content.find((each) => each.type === 'image');
  assert.ok(image?.type === 'image' && image.mimeType === 'image/png', textOf(chart));
  const png = Buffer.from(image.data, 'base64');
  assert.deepEqual([...png.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.ok(png.readUInt32BE(16) > 200 && png.readUInt32BE(20) > 200, 'it has the size of a figure');
  assert.ok(png.includes('IEND') && png.length > 4000, `${png.length} bytes`);
  const table = await call('run_code', { code: 'frame' });
  assert.match(textOf(table), /\| year \| sum \|\n/);
  assert.match(textOf(table), /\| 2025 \| 2\.5 \|/);
});

test('a file that the code wrote is read as what it is, and as a resource', async () => {
  const session = member(await call('create_session'), 'session') as string;
  await call('write_file', { session, path: 'data/in put.csv', content: 'a,b\n1,2\n' });
  const code = `import matplotlib.pyplot as plt, pandas as pd
pd.read_csv("data/in put.csv").plot().figure.savefig("plot.png"); plt.close("all")
open("notes.txt", "w").write("from the machine")`;
  assert.equal((await call('run_code', { session, code })).isError, undefined);
  const image = (await call('read_file', { session, path: 'plot.png' })).content.find((each) => each.type === 'image');
  assert.ok(image?.type === 'image' && Buffer.from(image.data, 'base64').subarray(1, 4).toString() === 'PNG');
  const listed = member(await call('list_files', { session }), 'entries') as { name: string; kind: string }[];
  assert.ok(listed.some(({ name, kind }) => name === 'data' && kind === 'directory'));
  const { resources } = await client.listResources();
  const notes = resources.find(({ name }) => name === 'notes.txt');
  const { contents } = await client.readResource({ uri: notes?.uri ?? '' });
  assert.equal((contents[0] as { text: string }).text, 'from the machine');
  const command = await call('run_command', { session, argv: ['cat'], stdin: 'typed' });
  assert.equal(member(command, 'stdout'), 'typed');
  await call('terminate_session', { session });
});

test('a fork goes its own way, and a session sleeps and wakes with what it had', async () => {
  const session = member(await call('create_session'), 'session') as string;
  await call('run_code', { session, code: 'x = 41' });
  const [child] = member(await call('fork_session', { session }), 'sessions') as { session: string }[];
  await call('run_code', { session: child?.session, code: 'x = 0' });
  await call('suspend_session', { session });
  assert.equal(member(await call('run_code', { session, code: 'print(x + 1)' }), 'stdout'), '42\n');
  for (const id of [session, child?.session]) {
    assert.equal(member(await call('terminate_session', { session: id }), 'state'), 'terminated');
  }
});

test('cancelling a call stops the code in the machine, and the variables are kept', async () => {
  const session = member(await call('create_session'), 'session') as string;
  await call('run_code', { session, code: 'beats = 0' });
  const stop = new AbortController();
  const code = 'import time\nwhile True:\n    beats += 1\n    time.sleep(0.01)';
  const running = client.callTool({ name: 'run_code', arguments: { session, code } }, undefined, {
    signal: stop.signal,
  });
  const state = async (): Promise<unknown> => member(await call('get_session', { session }), 'state');
  await eventually('the turn runs', async () => (await state()) === 'busy');
  stop.abort('enough');
  await assert.rejects(running);
  await eventually('the turn has ended', async () => (await state()) === 'ready');
  const counted = member(await call('run_code', { session, code: 'print(beats)' }), 'stdout');
  const later = member(
    await call('run_code', { session, code: 'import time\ntime.sleep(0.2)\nprint(beats)' }),
    'stdout',
  );
  assert.equal(counted, later);
  await call('terminate_session', { session });
});
