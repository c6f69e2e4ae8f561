import assert from 'node:assert/strict';
import { it } from 'node:test';
import { describeBothWays, describeOnServer, makeFolder } from './run-cli.ts';

const members = [
  'id',
  'state',
  'size',
  'tier',
  'runtime',
  'turnCount',
  'createdAt',
  'activeAt',
  'endedAt',
  'parent',
  'epoch',
  'snapshot',
  'launchMs',
  'timeLimits',
  'error',
];

// In the process of the command, what a session slept in has to outlive the process: tested on real machines, in test/machine/client.test.ts.
const alone = { concurrency: 1 };

describeOnServer(
  'bulkhead session',
  ({ callCli }) => {
    /** What the command prints as JSON, with a state of its own where it works by itself. */
    const asking =
      (stateDir: string) =>
      // oxlint-disable-next-line typescript/no-explicit-any -- documents, looked at member by member
      async (...args: readonly string[]): Promise<any> => {
        const { exitCode, stdout, stderr } = await callCli([...args, '--json'], {
          env: { BULKHEAD_STATE_DIR: stateDir },
        });
        assert.equal(exitCode, 0, stderr + stdout);
        return JSON.parse(stdout);
      };

    it('creates, shows, uses, forks, checkpoints, restores and terminates sessions that are kept', async () => {
      await using folder = await makeFolder();
      const ask = asking(`${folder.path}/state`);
      const made = await ask('session', 'create', '--lifetime', '1h', '--size', 'small');
      assert.deepEqual(Object.keys(made), members);
      assert.equal(made.timeLimits.lifetimeMs, 3_600_000);
      assert.match(made.id, /^ses_/);

      assert.equal((await ask('run', '--session', made.id, 'x = 41')).status, 'ok');
      const turn = await ask('run', '--session', made.id, 'print(x + 1)');
      assert.deepEqual([turn.stdout, turn.sessionId], ['42\n', made.id]);

      const listed = await ask('session', 'list');
      assert.deepEqual(
        listed.map(({ id }: { readonly id: string }) => id),
        [made.id],
      );
      assert.deepEqual(Object.keys(listed[0]), members);

      assert.equal((await ask('session', 'suspend', made.id)).state, 'suspended');
      assert.equal((await ask('session', 'resume', made.id)).state, 'ready');

      assert.equal((await ask('session', 'checkpoint', made.id, 'before')).name, 'before');
      await ask('run', '--session', made.id, 'x = 0');
      assert.equal((await ask('session', 'restore', made.id, 'before')).id, made.id);
      assert.equal((await ask('run', '--session', made.id, 'print(x)')).stdout, '41\n');
      const shown = await ask('session', 'show', made.id);
      assert.deepEqual(Object.keys(shown), [...members, 'checkpoints']);
      assert.deepEqual(Object.keys(shown.checkpoints[0]), ['name', 'id', 'bytes', 'createdAt']);
      assert.deepEqual(await ask('session', 'checkpoint', made.id, 'before', '--delete'), { deleted: 'before' });
      assert.deepEqual(await ask('session', 'checkpoint', made.id), []);

      const forks = await ask('session', 'fork', made.id, '-n', '2');
      assert.equal(forks.length, 2);
      for (const { id, parent } of forks) {
        assert.equal(parent, made.id);
        assert.equal((await ask('run', '--session', id, 'print(x)')).stdout, '41\n');
        assert.equal((await ask('session', 'terminate', id)).state, 'terminated');
      }
      assert.equal((await ask('session', 'terminate', made.id)).state, 'terminated');
      assert.deepEqual(await ask('session', 'list'), []);
      assert.equal((await ask('session', 'list', '--all')).length, 3);
    });

    it('attaches a shell, and leaves the session when the shell ends', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: `${folder.path}/state` };
      const ask = asking(env.BULKHEAD_STATE_DIR);
      const { id } = await ask('session', 'create');
      const shell = await callCli(['session', 'attach', id], { env, input: 'y = 6\n\nprint(y * 7)\n' });
      assert.deepEqual([shell.exitCode, shell.stdout], [0, '42\n']);
      assert.equal((await ask('run', '--session', id, 'print(y)')).stdout, '6\n');
      await ask('session', 'terminate', id);
    });
  },
  alone,
);

describeBothWays(
  'bulkhead session, when something is wrong',
  ({ callCli }) => {
    it('is told the same way when something is wrong', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: `${folder.path}/state` };
      for (const [args, code, exitCode] of [
        [['session', 'show', `ses_${'0'.repeat(26)}`], 'not_found', 2],
        [['session', 'show', 'nonsense'], 'invalid_request', 2],
        [['session', 'suspend'], 'invalid_request', 2],
        [['session', 'create', 'extra'], 'invalid_request', 2],
        [['session', 'sleep'], 'invalid_request', 2],
        [['run', '--session', `ses_${'0'.repeat(26)}`, '1'], 'not_found', 2],
      ] as const) {
        const result = await callCli([...args, '--json'], { env });
        assert.deepEqual([JSON.parse(result.stdout).error.code, result.exitCode], [code, exitCode], args.join(' '));
      }
    });
  },
  alone,
);
