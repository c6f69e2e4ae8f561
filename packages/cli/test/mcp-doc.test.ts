import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder } from './run-cli.ts';
import { startServer } from './start-server.ts';

const root = join(import.meta.dirname, '../../..');

test('the TypeScript of docs/mcp.md does what it says', async () => {
  const page = await readFile(join(root, 'docs/mcp.md'), 'utf8');
  const [, code] = /^```ts\n([\s\S]*?)^```$/m.exec(page) ?? [];
  assert.ok(code !== undefined);
  await using folder = await makeFolder();
  await using server = await startServer(folder.path);
  const child = spawn(
    process.execPath,
    [
      '--conditions=bulkhead-source',
      '--disable-warning=ExperimentalWarning',
      '--input-type=module-typescript',
      '-e',
      code,
    ],
    {
      cwd: join(root, 'packages/cli'),
      env: { PATH: process.env['PATH'] ?? '', BULKHEAD_URL: server.url, BULKHEAD_API_KEY: server.key },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const exitCode = await new Promise((resolve) => void child.once('close', resolve));
  assert.deepEqual([exitCode, printed], [0, '42\n\n']);
});
