// What starts soon loads little: the client is loaded by commands that ask a server, and by no other.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFolder, runCli, startTestServer } from './run-cli.ts';

const mark = 'loaded from the client';
const hook = `import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    if (url.includes('/packages/sdk/src/')) process.stderr.write('${mark}\\n');
    return next(url, context);
  },
});`;
const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(hook)}`;

describe('the client', () => {
  it('is not loaded by a command that works by itself, and is by one that asks a server', async () => {
    await using folder = await makeFolder();
    const here = await runCli(['run', 'print(6*7)'], { cwd: folder.path, env: { NODE_OPTIONS } });
    assert.deepEqual([here.stdout, here.stderr.includes(mark)], ['42\n', false], here.stderr);
    await using server = await startTestServer();
    const there = await runCli(['run', 'print(6*7)'], { cwd: folder.path, env: { ...server.env, NODE_OPTIONS } });
    assert.deepEqual([there.stdout, there.stderr.includes(mark)], ['42\n', true]);
  });
});
