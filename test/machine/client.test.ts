// The TypeScript client, the command and its in-process way, on real machines.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { type TurnEvent, parseId } from '@bulkhead/protocol';
import { Bulkhead } from '@bulkhead/sdk';
import { downloadFile, uploadFile } from '@bulkhead/sdk/node';
import { type RunningServer, loadConfig, startServer } from '@bulkhead/server';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');

describe('on real machines', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-client-'));
  let server: RunningServer | undefined;
  let apiKey = '';

  before(async () => {
    const given = { BULKHEAD_STATE_DIR: join(folder, 'served'), BULKHEAD_PORT: '0', BULKHEAD_LOG_LEVEL: 'silent' };
    server = await startServer(loadConfig(process.env, given), { version: '0.0.0', checkAnswers: true });
    apiKey = server.first?.secret ?? '';
    await server.ready;
  });
  after(async () => {
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const env = (): NodeJS.ProcessEnv => ({ ...process.env, BULKHEAD_URL: server?.url, BULKHEAD_API_KEY: apiKey });
  const client = (): Bulkhead => new Bulkhead({ url: server?.url ?? '', apiKey });

  it('the client runs turns, streams, moves files, runs commands, opens a terminal, sleeps and forks', async () => {
    await using session = await client().sessions.create();
    const chart = await session.run('import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()');
    assert.deepEqual([...(chart.check().images[0]?.bytes.subarray(1, 4) ?? [])], [...Buffer.from('PNG')]);
    const frame = await session.run('import pandas as pd\npd.DataFrame({"a": [1, 2]})');
    assert.deepEqual(frame.tables[0]?.rows, [[1], [2]]);

    const events: TurnEvent[] = [];
    for await (const event of session.stream('for i in range(5): print(i, "é")')) events.push(event);
    const printed = events.map((event) => (event.type === 'stdout' ? event.text : '')).join('');
    assert.equal(printed, [0, 1, 2, 3, 4].map((i) => `${i} é\n`).join(''));

    const bytes = randomBytes(8 * 2 ** 20);
    writeFileSync(join(folder, 'up'), bytes);
    await uploadFile(session, join(folder, 'up'), 'data.bin');
    const digest = createHash('sha256').update(bytes).digest('hex');
    assert.match((await session.commands.run(['sha256sum', 'data.bin'])).stdout, new RegExp(`^${digest}`));
    assert.equal(await downloadFile(session, 'data.bin', join(folder, 'down')), bytes.length);
    assert.equal((await session.commands.run('echo out; echo err >&2; exit 3')).exitCode, 3);
    assert.equal((await session.commands.run(['cat'], { stdin: new Uint8Array([104, 105]) })).stdout, 'hi');

    const terminal = await session.terminal({ columns: 91, rows: 17 });
    terminal.write('stty size; exit 5\n');
    assert.equal((await terminal.exit).exitCode, 5);
    const seen: string[] = [];
    for await (const chunk of terminal) seen.push(new TextDecoder().decode(chunk));
    assert.match(seen.join(''), /17 91/);

    await session.run('x = 41');
    assert.equal((await session.suspend()).state, 'suspended');
    assert.equal((await session.run('print(x + 1)')).text, '42\n');
    const [fork] = await session.fork();
    assert.equal((await fork?.run('print(x)'))?.text, '41\n');
    await fork?.terminate();
  });

  it('the example does the four turns and checks itself', async () => {
    const example = join(root, 'examples', 'monte-carlo-var', 'client.ts');
    const args = ['--conditions=bulkhead-source', example, '--json', '--out', join(folder, 'report.html')];
    const { stdout } = await run(process.execPath, args, { env: env() });
    assert.ok(
      Object.values(JSON.parse(stdout).checks).every((holds) => holds === true),
      stdout,
    );
  });

  for (const way of ['in the process of the command', 'on the server'] as const) {
    it(`the command keeps sessions ${way}`, async () => {
      const here = { ...process.env, BULKHEAD_URL: 'none', BULKHEAD_STATE_DIR: join(folder, 'own') };
      // oxlint-disable-next-line typescript/no-explicit-any -- documents, looked at member by member
      const ask = async (...args: readonly string[]): Promise<any> => {
        const options = { env: way === 'on the server' ? env() : here };
        return JSON.parse((await run(join(root, 'bulkhead'), [...args, '--json'], options)).stdout);
      };
      const { id } = await ask('session', 'create');
      assert.ok(parseId('session', id));
      await ask('run', '--session', id, 'x = 41');
      assert.equal((await ask('run', '--session', id, 'print(x + 1)')).stdout, '42\n');
      await ask('session', 'checkpoint', id, 'before');
      await ask('run', '--session', id, 'x = 0');
      await ask('session', 'restore', id, 'before');
      const [fork] = await ask('session', 'fork', id);
      assert.equal((await ask('run', '--session', fork.id, 'print(x)')).stdout, '41\n');
      assert.equal((await ask('session', 'list')).length, 2);
      for (const each of [fork.id, id]) assert.equal((await ask('session', 'terminate', each)).state, 'terminated');
      assert.deepEqual(await ask('session', 'list'), []);
    });
  }
});
