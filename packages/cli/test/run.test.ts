import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { describeBothWays, makeFolder, runCli as runHere } from './run-cli.ts';

const members = [
  'sessionId',
  'status',
  'stdout',
  'stderr',
  'results',
  'error',
  'exception',
  'context',
  'truncated',
  'timings',
  'runtime',
  'tier',
];

function parseDocument(stdout: string): Record<string, unknown> & { error: { code: string } | null } {
  assert.equal(stdout.trimEnd().split('\n').length, 1, 'one document on one line');
  return JSON.parse(stdout);
}

describeBothWays('bulkhead run', ({ callCli, runCli }) => {
  it('shows what the code prints, and its last value', async () => {
    const { exitCode, stdout, stderr } = await callCli(['run', 'print(6*7)\n6*7']);
    assert.deepEqual([exitCode, stdout, stderr], [0, '42\n42\n', '']);
  });

  it('takes code from standard input, from -, and from a file', async () => {
    await using folder = await makeFolder();
    await writeFile(join(folder.path, 'a.py'), 'print(1)\n');
    assert.equal((await callCli(['run'], { input: 'print(2)' })).stdout, '2\n');
    assert.equal((await callCli(['run', '-'], { input: 'print(3)' })).stdout, '3\n');
    assert.equal((await callCli(['run', '-f', 'a.py'], { cwd: folder.path })).stdout, '1\n');
  });

  it('prints one JSON document with every member', async () => {
    const { exitCode, stdout } = await callCli(['run', '--json', 'print(6*7)']);
    const document = parseDocument(stdout);
    assert.equal(exitCode, 0);
    assert.deepEqual(Object.keys(document), members);
    assert.deepEqual(
      [
        document['status'],
        document['stdout'],
        document.error,
        document['runtime'],
        document['tier'],
        document['context'],
      ],
      ['ok', '42\n', null, 'fake', 'none', 'kept'],
    );
    assert.match(String(document['sessionId']), /^ses_/);
  });

  for (const [code, args, exitCode] of [
    ['turn_failed', ['1/0'], 1],
    ['turn_timeout', ['--timeout', '100ms', 'while True: pass'], 124],
    ['context_died', ['os._exit(1)'], 70],
    ['machine_lost', ['fake.crash()'], 71],
    ['guest_protocol_violation', ['fake.violate()'], 72],
    ['guest_unresponsive', ['fake.silence()'], 73],
    ['file_error', ['--out', 'nothing', '1'], 4],
    ['invalid_request', ['--size', 'smal', '1'], 2],
    ['invalid_request', ['--lang', 'cobol', '1'], 2],
    ['invalid_request', ['--timeout', 'soon', '1'], 2],
    ['invalid_request', ['--file', '/nowhere/at-all', '1'], 2],
    ['invalid_request', ['--josn', '1'], 2],
    ['invalid_request', ['1', '2'], 2],
  ] as const) {
    it(`${args.join(' ')}: ${code}, exit code ${exitCode}, with and without --json`, async () => {
      const [plain, json] = await Promise.all([callCli(['run', ...args]), callCli(['run', '--json', ...args])]);
      assert.deepEqual([plain.exitCode, json.exitCode], [exitCode, exitCode]);
      const document = parseDocument(json.stdout);
      assert.deepEqual(Object.keys(document), members);
      assert.equal(document.error?.code, code);
      assert.equal(document['status'], 'error');
      assert.match(plain.stderr, code === 'turn_failed' ? /ZeroDivisionError/ : new RegExp(`bulkhead: ${code}:`));
    });
  }

  it('gives files to the session and fetches them, names with colons and newlines included', async () => {
    await using folder = await makeFolder();
    const names = ['plain.txt', 'a:b.txt', 'new\nline.txt', 'empty'];
    for (const name of names) await writeFile(join(folder.path, name), name === 'empty' ? '' : `content of ${name}`);
    const files = names.flatMap((name) => ['--file', name]);
    const outs = ['--out', 'plain.txt:copy.txt', '--out', 'new\nline.txt:copy2.txt', '--out', 'empty:copy3'];
    const result = await callCli(
      ['run', '-q', ...files, '--file', 'plain.txt:/tmp/x', '--out', '/tmp/x', ...outs, '1'],
      {
        cwd: folder.path,
      },
    );
    assert.equal(result.exitCode, 0, result.stderr);
    const read = (name: string): Promise<string> => readFile(join(folder.path, name), 'utf8');
    assert.equal(await read('copy.txt'), 'content of plain.txt');
    assert.equal(await read('copy2.txt'), 'content of new\nline.txt');
    assert.equal(await read('copy3'), '');
    assert.equal(await read('x'), 'content of plain.txt');
    assert.ok((await readdir(folder.path)).every((name) => !name.endsWith('.part')));
  });

  it('leaves what was there when a file cannot be fetched', async () => {
    await using folder = await makeFolder();
    await writeFile(join(folder.path, 'kept'), 'as it was');
    const { exitCode } = await callCli(['run', '--out', 'nothing:kept', '1'], { cwd: folder.path });
    assert.equal(exitCode, 4);
    assert.deepEqual(await readdir(folder.path), ['kept']);
    assert.equal(await readFile(join(folder.path, 'kept'), 'utf8'), 'as it was');
  });

  it('saves figures under names of its own and writes over nothing', async () => {
    await using folder = await makeFolder();
    await writeFile(join(folder.path, 'figure-1.png'), 'mine');
    const { stderr } = await callCli(['run', 'fake.figure()\nfake.figure()'], { cwd: folder.path });
    assert.match(stderr, /figure saved to .*figure-2\.png/);
    assert.deepEqual((await readdir(folder.path)).toSorted(), ['figure-1.png', 'figure-2.png', 'figure-3.png']);
    assert.equal(await readFile(join(folder.path, 'figure-1.png'), 'utf8'), 'mine');
    const png = await readFile(join(folder.path, 'figure-2.png'));
    assert.equal(png.subarray(1, 4).toString(), 'PNG');
    await callCli(['run', '--figures', 'none', 'fake.figure()'], { cwd: folder.path });
    assert.equal((await readdir(folder.path)).length, 3);
  });

  it('passes output through a pipe as it is', async () => {
    const { stdout } = await callCli(['run', 'print("\\e[31mred\\e[0m")']);
    assert.equal(stdout, '\u001b[31mred\u001b[0m\n');
  });

  it('escapes in JSON what could drive a terminal, and it is still the same', async () => {
    const { stdout } = await callCli(['run', '--json', 'fake.bytes("c29b33316de280ae")']);
    // eslint-disable-next-line no-control-regex -- the terminal's own
    assert.doesNotMatch(stdout, /[\u0080-\u009f\u202e]/);
    assert.equal(parseDocument(stdout)['stdout'], '\u009b31m\u202e');
  });

  it('says what was dropped of a flood', async () => {
    const { stdout, stderr } = await callCli(['run', 'fake.flood(9000000)']);
    assert.equal(stdout.length, 8_388_608);
    assert.match(stderr, /597\.1 KiB of stdout were dropped/);
  });

  it('ends quietly when nobody reads any more', async () => {
    const result = await runCli(['run', 'fake.flood(8000000)\nsleep(1)\nfake.flood(8000000)'], {
      onOutput: (child) => void child.stdout?.destroy(),
    });
    assert.deepEqual([result.exitCode, result.stderr], [141, '']);
  });
});

describeBothWays('a signal', ({ runCli }) => {
  it('SIGINT interrupts the turn; exit code 130, one JSON document', async () => {
    const result = await runCli(['run', 'print("on")\nwhile True: pass'], {
      onOutput: (child, text) => void (text === 'on\n' && child.kill('SIGINT')),
    });
    assert.equal(result.exitCode, 130);
    assert.match(result.stderr, /turn_interrupted/);
  });

  it('a second SIGINT ends everything at once', async () => {
    let sent = 0;
    const started = performance.now();
    const result = await runCli(['run', 'print("on")\nfake.stderr("a")\nfake.ignore_kill()'], {
      onOutput: (child) => {
        if (sent > 0) return;
        sent = 1;
        child.kill('SIGINT');
        setTimeout(() => child.kill('SIGINT'), 100);
      },
    });
    assert.equal(result.exitCode, 130);
    assert.ok(performance.now() - started < 4000, 'before the ladder would have ended it');
  });

  it('SIGTERM ends everything at once', async () => {
    const result = await runCli(['run', 'print("on")\nfake.ignore_kill()'], {
      onOutput: (child, text) => void (text === 'on\n' && child.kill('SIGTERM')),
    });
    assert.equal(result.exitCode, 130);
  });

  // The whole life of the command, in steps: wherever the signal falls, it ends with nothing but 0 or 130.
  for (let delayMs = 50; delayMs <= 450; delayMs += 50) {
    it(`SIGINT after ${delayMs} ms ends with a code that is documented`, async () => {
      let timer: NodeJS.Timeout | undefined;
      const running = runCli(['run', '--json', 'sleep(0.2)\nprint(1)'], {
        onSpawn: (child) => {
          timer = setTimeout(() => child.kill('SIGINT'), delayMs);
        },
      });
      const result = await running;
      clearTimeout(timer);
      // A signal before the command listens ends the process as it ends any other.
      if (result.exitCode === null) return;
      assert.ok([0, 130].includes(result.exitCode), `exit code ${result.exitCode}`);
      assert.equal(parseDocument(result.stdout).error === null, result.exitCode === 0);
    });
  }
});

describe('bulkhead run', () => {
  it('refuses the fake runtime where it is not allowed, in JSON as well', async () => {
    const { exitCode, stdout } = await runHere(['run', '--json', '1'], { env: { BULKHEAD_ALLOW_FAKE: '' } });
    const document = parseDocument(stdout);
    assert.deepEqual([exitCode, document.error?.code, document['sessionId']], [2, 'config_invalid', null]);
  });
});
