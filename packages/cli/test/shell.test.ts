import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';
import { type Commands, describeBothWays, makeFolder, nodeArguments } from './run-cli.ts';

describeBothWays('bulkhead shell, from a pipe', ({ callCli, runCli, environment }) => {
  it('runs a turn for each block in one session, and prints nothing else', async () => {
    const { exitCode, stdout, stderr } = await callCli(['shell'], { input: 'x = 41\n\nprint(x + 1)\n' });
    assert.deepEqual([exitCode, stdout, stderr], [0, '42\n', '']);
  });

  it('does so as a process of its own', async () => {
    const { exitCode, stdout } = await runCli(['shell'], { input: 'x = 41\n\nprint(x + 1)\n' });
    assert.deepEqual([exitCode, stdout], [0, '42\n']);
  });

  it('runs a turn for each line when asked to', async () => {
    const { stdout } = await callCli(['shell', '--lines', '--json'], { input: 'x = 1\nx + 1\n' });
    const documents = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(documents.length, 2);
    assert.deepEqual(documents[1].results, [{ 'text/plain': '2' }]);
  });

  it('gives figures, tables and tracebacks as data, in one session', async () => {
    const { exitCode, stdout } = await callCli(['shell', '--json'], {
      input: 'fake.figure()\n\nfake.table()\n\n1/0\n\nprint("on")\n',
    });
    const documents = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(documents.length, 4);
    assert.ok('image/png' in documents[0].results[0]);
    assert.ok('text/html' in documents[1].results[0]);
    assert.equal(documents[2].exception.name, 'ZeroDivisionError');
    assert.equal(documents[3].stdout, 'on\n');
    assert.equal(new Set(documents.map((document) => document.sessionId)).size, 1);
    assert.equal(exitCode, 1, 'the code of the last turn that failed');
  });

  it('goes on after a timeout with its variables', async () => {
    const { exitCode, stdout } = await callCli(['shell', '--timeout', '100ms'], {
      input: 'x = 5\n\nwhile True: pass\n\nprint(x)\n',
    });
    assert.deepEqual([exitCode, stdout], [124, '5\n']);
  });

  it('stops when the machine is gone and says so', async () => {
    const { exitCode, stdout, stderr } = await callCli(['shell'], { input: 'fake.crash()\n\nprint(1)\n' });
    assert.deepEqual([exitCode, stdout], [71, '']);
    assert.match(stderr, /was not run/);
  });

  it('takes commands, languages and directives', async () => {
    await using folder = await makeFolder();
    const { stdout, stderr } = await callCli(['shell'], {
      cwd: folder.path,
      input: '!echo from bash\n%lang bash\necho two\n\n:lang python\n:session\n:fils\n',
    });
    assert.match(stdout, /^from bash\ntwo\nsession {2}ses_/);
    assert.match(stderr, /Did you mean :files\?/);
  });

  it('ends with 130 on SIGINT between turns', async () => {
    const child = spawn(process.execPath, [...nodeArguments, 'shell'], {
      env: environment('/tmp'),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdin.write('print("ready")\n\n');
    child.stdout.once('data', () => setTimeout(() => child.kill('SIGINT'), 50));
    const exitCode = await new Promise((resolve) => void child.on('close', resolve));
    assert.equal(exitCode, 130);
  });

  it('answers each block before the next is written', async () => {
    const child = spawn(process.execPath, [...nodeArguments, 'shell'], {
      env: environment('/tmp'),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    child.stdout.setEncoding('utf8');
    const answers = child.stdout[Symbol.asyncIterator]();
    for (const n of [1, 2, 3]) {
      child.stdin.write(`print(${n})\n\n`);
      assert.equal((await answers.next()).value, `${n}\n`);
    }
    child.stdin.end();
    assert.equal(await new Promise((resolve) => void child.on('close', resolve)), 0);
  });
});

// A person at a terminal, played by a pseudo-terminal of Python's.
const terminal = `
import os, pty, sys, time, select, signal
steps = eval(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
seen = b''
def until(text):
    global seen
    end = time.time() + 15
    while text not in seen:
        if time.time() > end: sys.stdout.write('NOT SEEN: %r in %r' % (text, seen)); os.kill(pid, 9); sys.exit(1)
        if select.select([fd], [], [], 0.1)[0]:
            try: data = os.read(fd, 65536)
            except OSError: break
            if not data: break
            seen += data
    if text in seen: seen = seen[seen.index(text) + len(text):]
for send, expect in steps:
    if send: os.write(fd, send)
    before = seen
    if expect: until(expect)
    sys.stdout.write(repr(before) + '\\n')
while True:
    try: data = os.read(fd, 65536)
    except OSError: break
    if not data: break
    seen += data
sys.stdout.write(repr(seen) + '\\n')
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

type AtTerminal = (
  args: readonly string[],
  steps: readonly (readonly [send: string, expect: string])[],
  cwd: string,
) => Promise<{ readonly exitCode: number | null; readonly text: string }>;

function terminalWith(environment: Commands['environment']): AtTerminal {
  return async (args, steps, cwd) => {
    const python = steps.map(([send, expect]) => `(bytes.fromhex("${hex(send)}"), bytes.fromhex("${hex(expect)}"))`);
    const child = spawn(
      'python3',
      ['-c', terminal, `[${python.join(',')}]`, process.execPath, ...nodeArguments, ...args],
      {
        cwd,
        env: { ...environment(cwd), TERM: 'xterm' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    const exitCode = await new Promise<number | null>((resolve) => void child.on('close', resolve));
    return { exitCode, text };
  };
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

describeBothWays('bulkhead shell, at a terminal', ({ environment }) => {
  const atTerminal = terminalWith(environment);

  it('keeps variables, reads blocks, interrupts a turn with Ctrl-C and lives on, ends with Ctrl-D', async () => {
    await using folder = await makeFolder();
    const { exitCode, text } = await atTerminal(
      ['shell'],
      [
        ['', '>>> '],
        ['x = 41\r', '>>> '],
        ['print(x + 1)\r', '42'],
        ['(1 +\r', '... '],
        ['2)\r', '3'],
        ['', '>>> '],
        ['while True: pass\r', 'pass'],
        ['\u0003', 'turn_interrupted'],
        ['print(x + 59)\r', '100'],
        ['', '>>> '],
        ['half a li\u0003', '>>> '],
        ['!echo from bash\r', 'from bash\r\n'],
        ['\u0004', ''],
      ],
      folder.path,
    );
    assert.equal(exitCode, 0, text);
    const path = join(folder.path, '.local/state/bulkhead/shell-history');
    const history = await readFile(path, 'utf8');
    assert.match(history, /^x = 41\nprint\(x \+ 1\)\n/);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  it('runs what was typed before a Ctrl-D that comes during a turn, then ends', async () => {
    await using folder = await makeFolder();
    const typed = 'sleep(0.5)\rprint(6 * 7)\r\u0004';
    const { exitCode, text } = await atTerminal(
      ['shell'],
      [
        ['', '>>> '],
        [typed, '\n42'],
      ],
      folder.path,
    );
    assert.equal(exitCode, 0, text);
  });

  it('starts another session when the machine is gone', async () => {
    await using folder = await makeFolder();
    const { exitCode, text } = await atTerminal(
      ['shell'],
      [
        ['', '>>> '],
        ['fake.crash()\r', 'Here is a new one.'],
        ['print(7 * 7)\r', '49'],
        [':quit\r', ''],
      ],
      folder.path,
    );
    assert.equal(exitCode, 0, text);
  });

  it('lets no escape sequence of the guest reach the terminal', async () => {
    await using folder = await makeFolder();
    const evil = 'print("a\\e]52;c;aGk=\\ab\\e[2Jc\\x9b31md")';
    const { exitCode, text } = await atTerminal(['run', evil], [['', 'total']], folder.path);
    assert.equal(exitCode, 0, text);
    assert.doesNotMatch(text, /\\x1b\]|\\x1b\[2J|\\xc2\\x9b|\\x07/);
  });

  it('shows tier and times on a last, dim line', async () => {
    await using folder = await makeFolder();
    const { text } = await atTerminal(['run', 'print(1)'], [['', 'none']], folder.path);
    assert.match(text, /launch .* turn .* total /);
  });
});
