// `bulkhead mcp` as its clients start it: the official client over standard input and output, in front of sessions of this process and of a server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCatalogue } from '@bulkhead/protocol';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { callCli, fakeEnvironment, makeFolder, nodeArguments, runCli } from './run-cli.ts';
import { startServer } from './start-server.ts';

interface Started extends AsyncDisposable {
  readonly client: Client;
  readonly stderr: () => string;
}

async function start(home: string, args: readonly string[] = [], env: Record<string, string> = {}): Promise<Started> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...nodeArguments, 'mcp', ...args],
    env: { ...fakeEnvironment(home), ...env },
    cwd: home,
    stderr: 'pipe',
  });
  let stderr = '';
  transport.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  return { client, stderr: () => stderr, [Symbol.asyncDispose]: () => client.close() };
}

async function call(client: Client, name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> {
  return (await client.callTool({ name, arguments: args })) as CallToolResult;
}

function member({ structuredContent, content }: CallToolResult, name: string): unknown {
  assert.ok(structuredContent !== undefined, JSON.stringify(content));
  return structuredContent[name];
}

test('a client gets tools, a figure, and variables that live on', async () => {
  await using folder = await makeFolder();
  await using started = await start(folder.path);
  const { client } = started;
  const { tools } = await client.listTools();
  const names = new Set(tools.map(({ name }) => name));
  assert.ok(names.has('run_code') && names.has('fork_session'));
  assert.equal(names.has('suspend_session'), false, 'nothing is kept: sessions cannot sleep');
  await call(client, 'run_code', { code: 'x = 41' });
  assert.equal(member(await call(client, 'run_code', { code: 'print(x + 1)' }), 'stdout'), '42\n');
  const figure = await call(client, 'run_code', { code: 'fake.figure()' });
  assert.ok(figure.content.some(({ type }) => type === 'image'));
  const session = member(await call(client, 'create_session'), 'session');
  const forked = member(await call(client, 'fork_session', { session }), 'sessions');
  assert.equal((forked as unknown[]).length, 1);
  assert.equal(member(await call(client, 'terminate_session', { session }), 'state'), 'terminated');
});

test('cancelling a call interrupts its turn', async () => {
  await using folder = await makeFolder();
  await using started = await start(folder.path);
  const { client } = started;
  const session = member(await call(client, 'create_session'), 'session');
  const stop = new AbortController();
  const running = client.callTool({ name: 'run_code', arguments: { session, code: 'while True: pass' } }, undefined, {
    signal: stop.signal,
  });
  const state = async (): Promise<unknown> => member(await call(client, 'get_session', { session }), 'state');
  const deadline = performance.now() + 10_000;
  const until = async (expected: string): Promise<void> => {
    while ((await state()) !== expected) assert.ok(performance.now() < deadline, `not ${expected} in time`);
  };
  await until('busy');
  stop.abort('enough');
  await assert.rejects(running);
  await until('ready');
});

test('a file of messages is answered to its end, and nothing else is on stdout', async () => {
  await using folder = await makeFolder();
  const messages = [
    {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'file', version: '1' } },
    },
    { jsonrpc: '2.0', method: 'notifications/initialized' },
    'no message',
    { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'run_code', arguments: { code: 'print(6*7)' } } },
  ];
  const input = messages.map((message) => `${JSON.stringify(message)}\n`).join('');
  const { exitCode, stdout } = await runCli(['mcp', '--quiet'], { input, cwd: folder.path });
  assert.equal(exitCode, 0);
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: number; result: CallToolResult });
  assert.deepEqual(
    answers.map(({ id }) => id),
    [1, 2],
  );
  assert.equal(answers[1]?.result.structuredContent?.['stdout'], '42\n');
});

test('a server without a key, and an address that would show the key to the network, are refused', async () => {
  await using folder = await makeFolder();
  const { exitCode, stderr } = await runCli(['mcp'], { cwd: folder.path, env: { BULKHEAD_URL: 'http://127.0.0.1:1' } });
  assert.equal(exitCode, errorCatalogue.unauthenticated.exitCode);
  assert.match(stderr, /BULKHEAD_API_KEY/);
  const clear = await runCli(['mcp'], {
    cwd: folder.path,
    env: { BULKHEAD_URL: 'http://user:hunter2@bulkhead.example', BULKHEAD_API_KEY: 'k' },
  });
  assert.equal(clear.exitCode, 2);
  assert.match(clear.stderr, /BULKHEAD_URL: not valid \(got a secret/);
  assert.equal(clear.stderr.includes('hunter2'), false);
});

test('it explains itself', async () => {
  const { stdout } = await callCli(['mcp', '--help']);
  assert.match(stdout, /bulkhead mcp/);
});

test('in front of a server, messages go through; a wrong key is told; a server that was started anew is found again', async () => {
  await using folder = await makeFolder();
  let server = await startServer(folder.path);
  const { key, url } = server;
  try {
    const env = { BULKHEAD_URL: url, BULKHEAD_API_KEY: key };
    await assert.rejects(start(folder.path, [], { ...env, BULKHEAD_API_KEY: 'wrong' }), /does not take the key/);
    await using started = await start(folder.path, [], env);
    const { client } = started;
    assert.equal(client.getServerVersion()?.name, 'bulkhead');
    const messages: string[] = [];
    const result = await client.callTool(
      { name: 'run_code', arguments: { code: 'x = 41\nprint("first")\nsleep(0.4)\nprint(x + 1)' } },
      undefined,
      { onprogress: ({ message = '' }) => void messages.push(message) },
    );
    assert.equal(member(result as CallToolResult, 'stdout'), 'first\n42\n');
    assert.ok(messages.includes('program output: first'), messages.join(', '));
    const kept = member(await call(client, 'create_session'), 'session');
    await call(client, 'run_code', { session: kept, code: 'y = 7' });
    assert.equal(member(await call(client, 'suspend_session', { session: kept }), 'state'), 'suspended');
    await server[Symbol.asyncDispose]();
    server = await startServer(folder.path, new URL(url).port);
    const left = member(await call(client, 'list_sessions'), 'sessions') as { session: string; state: string }[];
    assert.deepEqual(
      left.map(({ session, state }) => [session, state]),
      [[kept, 'suspended']],
      'what was created sleeps; what was the connection’s own has ended',
    );
    assert.equal(member(await call(client, 'run_code', { code: 'print(1)' }), 'stdout'), '1\n');
    assert.match(started.stderr(), /beginning a new one/);
  } finally {
    await server[Symbol.asyncDispose]();
  }
});
