// What a turn gives back: text, rich results, errors as structure; what lives on between turns; commands, processes and files.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { eventually, openSession, output, turn, useBulkhead, value } from './support.ts';

const bulkhead = useBulkhead();

test('python keeps variables, awaits at the top level, and gives results as MIME bundles', async () => {
  await using session = await openSession(bulkhead());
  assert.equal((await turn(session, 'x = 41')).status, 'ok');
  const sum = await turn(session, 'x + 1');
  assert.deepEqual(
    sum.results.map((data) => data['text/plain']),
    ['42'],
  );
  const awaited = await turn(session, 'import asyncio\nawait asyncio.sleep(0)\n"done"');
  assert.deepEqual(
    awaited.results.map((data) => data['text/plain']),
    ["'done'"],
  );
  const rich = await turn(
    session,
    'from IPython.display import HTML, SVG, JSON, display\ndisplay(HTML("<b>b</b>"), SVG("<svg xmlns=\'http://www.w3.org/2000/svg\'/>"), JSON({"a": 1}))',
  );
  const types = rich.results.flatMap((data) => Object.keys(data));
  for (const type of ['text/html', 'image/svg+xml', 'application/json'])
    assert.ok(types.includes(type), `${type} in ${types.join(', ')}`);
});

test('a data frame is a table, a figure is shown without being asked', async () => {
  await using session = await openSession(bulkhead());
  const frame = await turn(session, 'import pandas as pd\npd.DataFrame({"a": [1, 2], "b": ["x", "y"]})');
  const [bundle = {}] = frame.results;
  assert.match(String(bundle['text/html']), /<table/);
  const table = bundle['application/vnd.bulkhead.table+json'] as {
    columns: { name: string }[];
    rows: unknown[][];
    totalRows: number;
  };
  assert.equal(table.totalRows, 2);
  assert.ok(table.columns.some(({ name }) => name === 'b'));
  const figure = await turn(session, 'import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); None');
  const png = figure.results.map((data) => data['image/png']).find((data) => data !== undefined);
  assert.ok(typeof png === 'string', JSON.stringify(figure.results.map((data) => Object.keys(data))));
  assert.deepEqual([...Buffer.from(png, 'base64').subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
});

test('an exception is structure, and the session goes on', async () => {
  await using session = await openSession(bulkhead());
  const failed = await turn(session, 'def f():\n    return 1 / 0\nkept = 1\nf()');
  assert.equal(failed.status, 'error');
  assert.equal(failed.error?.code, 'turn_failed');
  assert.equal(failed.exception?.name, 'ZeroDivisionError');
  assert.equal(failed.exception.frames.at(-1)?.name, 'f');
  assert.equal(failed.exception.frames.at(-1)?.line, 2);
  assert.equal(failed.context, 'kept');
  assert.equal(await output(session, 'print(kept)'), '1');
  const syntax = await turn(session, 'def (');
  assert.equal(syntax.exception?.name, 'SyntaxError');
});

test('javascript and bash keep their state too', async () => {
  await using session = await openSession(bulkhead());
  await output(session, 'const a = 20; let b = 1; b += 1', 'javascript');
  assert.equal(await output(session, 'console.log(a * b + 2)', 'javascript'), '42');
  const result = await turn(session, 'await Promise.resolve({ a: [1] })', { language: 'javascript' });
  assert.match(String(result.results[0]?.['text/plain']), /a: \[ 1 \]/);
  await output(session, 'cd /tmp; greeting=hello; shout() { echo "$greeting!"; }', 'bash');
  assert.equal(await output(session, 'pwd; shout', 'bash'), '/tmp\nhello!');
  const failed = await turn(session, 'false', { language: 'bash' });
  assert.equal(failed.status, 'error');
});

test('an endless loop ends at its timeout, and the variables live on', async () => {
  await using session = await openSession(bulkhead());
  await output(session, 'kept = 42');
  const started = performance.now();
  const late = await turn(session, 'while True: pass', { timeoutMs: 2000 });
  const elapsedMs = performance.now() - started;
  assert.equal(late.error?.code, 'turn_timeout');
  assert.equal(late.context, 'kept');
  assert.ok(elapsedMs < 5000, `${elapsedMs} ms`);
  assert.equal(await output(session, 'print(kept)'), '42');
});

test('commands have input, environment, directory and exit code; terminals have a size', async () => {
  await using session = await openSession(bulkhead());
  const command = session.guest.exec({
    argv: ['sh', '-c', 'cat; echo "$A in $PWD" >&2; exit 3'],
    env: { A: 'value' },
    cwd: '/tmp',
    stdin: Readable.from([Buffer.from('typed')]),
  });
  const seen = { stdout: '', stderr: '' };
  for await (const { stream, bytes } of command.output) seen[stream] += Buffer.from(bytes).toString();
  assert.deepEqual(seen, { stdout: 'typed', stderr: 'value in /tmp\n' });
  assert.equal((await command.outcome).exitCode, 3);
  const terminal = session.guest.exec({ argv: ['sh', '-c', 'test -t 1 && stty size'], pty: { columns: 91, rows: 17 } });
  let shown = '';
  for await (const { bytes } of terminal.output) shown += Buffer.from(bytes).toString();
  assert.match(shown, /17 91/);
});

test('a background process lives on between turns, and its output is kept', async () => {
  await using session = await openSession(bulkhead());
  const id = await session.guest.startProcess({ argv: ['sh', '-c', 'echo started; sleep 600'] });
  await eventually('its output', async () => {
    let kept = '';
    for await (const bytes of session.guest.processOutput(id)) kept += Buffer.from(bytes).toString();
    return kept === 'started\n';
  });
  assert.equal((await session.guest.listProcesses()).find(({ process }) => process === id)?.running, true);
  await session.guest.killProcess(id);
  assert.equal((await session.guest.listProcesses()).find(({ process }) => process === id)?.running ?? false, false);
});

test('files go in and out whole, at any size', async () => {
  await using session = await openSession(bulkhead());
  const sizeBytes = 24 * 1024 * 1024;
  const digestIn = createHash('sha256');
  async function* content(): AsyncGenerator<Buffer> {
    for (let sent = 0; sent < sizeBytes; sent += 1024 * 1024) {
      const chunk = randomBytes(1024 * 1024);
      digestIn.update(chunk);
      yield chunk;
    }
  }
  await session.guest.writeFile('data/big.bin', content(), sizeBytes).catch(async (error: unknown) => {
    assert.ok(BulkheadError.is(error, 'file_error'), 'a missing folder is a typed error');
    await session.guest.mkdir('data');
    await session.guest.writeFile('data/big.bin', content(), sizeBytes);
  });
  assert.equal((await session.guest.stat('data/big.bin')).sizeBytes, sizeBytes);
  const digestOut = createHash('sha256');
  for await (const bytes of session.guest.readFile('data/big.bin')) digestOut.update(bytes);
  assert.ok(await value<boolean>(session, '__import__("os").path.getsize("data/big.bin") == 25165824'));
  const inside = await output(session, 'sha256sum data/big.bin | cut -d" " -f1', 'bash');
  assert.equal(digestOut.digest('hex'), inside);
});

test('hostile file names stay inside the guest, and a cut upload leaves nothing', async () => {
  await using session = await openSession(bulkhead());
  const bytes = Buffer.from('content');
  for (const name of ['new\nline', '../user/up', 'sp ace', '-rf', 'é😀', '*?[']) {
    await session.guest.writeFile(name, Readable.from([bytes]), bytes.length);
    let read = '';
    for await (const chunk of session.guest.readFile(name)) read += Buffer.from(chunk).toString();
    assert.equal(read, 'content', JSON.stringify(name));
  }
  const refuse = (name: string): Promise<unknown> =>
    assert.rejects(session.guest.writeFile(name, Readable.from([bytes]), bytes.length), (error) =>
      BulkheadError.is(error),
    );
  for (const name of ['', 'nul\0byte', '/etc/passwd', '/proc/1/mem', '/dev/vda', 'x'.repeat(5000)]) await refuse(name);
  async function* cut(): AsyncGenerator<Buffer> {
    yield Buffer.alloc(1000);
    throw new Error('the sender went away');
  }
  await assert.rejects(session.guest.writeFile('cut.bin', cut(), 2000));
  const names = (await session.guest.listFiles('.')).entries.map(({ name }) => name);
  assert.ok(!names.some((name) => name.includes('cut')), names.join(', '));
});
