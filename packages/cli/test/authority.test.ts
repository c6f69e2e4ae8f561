import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until } from '../../server/test/api/harness.ts';
import { type Portfolio, openPortfolio } from '../../server/test/tools/portfolio.ts';
import {
  type CliResult,
  type Folder,
  type TestServer,
  callCli,
  describeBothWays,
  makeFolder,
  startTestServer,
} from './run-cli.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- documents, looked at member by member
function documentOf({ exitCode, stdout, stderr }: CliResult): any {
  assert.equal(exitCode, 0, stderr + stdout);
  return JSON.parse(stdout);
}

let portfolio: Portfolio;
before(async () => {
  portfolio = await openPortfolio();
});
after(() => portfolio[Symbol.asyncDispose]());

const policies = `@id("reads") permit(principal, action == Bulkhead::Action::"positions.query", resource);
@id("no-notes") forbid(principal, action, resource) when { context.sql like "*note*" };
`;

function settings(): string {
  const { host, database } = portfolio.login('acme');
  const sql = {
    kind: 'sql',
    description: 'positions',
    host,
    database,
    user: 'acme',
    password: 'db',
    freeQueries: true,
  };
  return JSON.stringify(sql);
}

async function write(folder: Folder, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder.path, name), text);
}

describeBothWays(
  'what sessions may reach',
  ({ callCli: call }) => {
    it('is set up, shown and taken away; a secret comes from standard input and is never shown', async () => {
      await using folder = await makeFolder();
      const env = { BULKHEAD_STATE_DIR: join(folder.path, 'state') };
      await write(folder, {
        'tool.json': settings(),
        'policies.cedar': policies,
        'wrong.cedar': `\n\n${policies.replace('query', 'quary')}`,
      });
      const run = (args: readonly string[], input = '') => call(args, { env, cwd: folder.path, input });
      // oxlint-disable-next-line typescript/no-explicit-any -- as above
      const ask = async (args: readonly string[], input?: string): Promise<any> =>
        documentOf(await run([...args, '--json'], input));
      const { id } = await ask(['tenant', 'create', 'acme']);
      const of = ['--tenant', id];

      const secrets = await ask(['secret', 'set', 'db', ...of], 'line one\nline two\n');
      assert.deepEqual(
        secrets.map(({ name }: { readonly name: string }) => name),
        ['db'],
      );
      assert.equal((await run(['secret', 'set', 'db', ...of])).exitCode, 2, 'nothing is no secret');
      assert.equal((await ask(['tool', 'set', 'positions', 'tool.json', ...of]))[0].settings.freeQueries, true);
      assert.match((await run(['tool', 'list', ...of])).stdout, /^positions +sql +positions$/m);
      assert.doesNotMatch((await run(['secret', 'list', ...of])).stdout, /line one/);

      const wrong = await run(['policy', 'check', 'wrong.cedar', ...of]);
      assert.deepEqual(
        [wrong.exitCode, /error +3 +reads +.*unrecognized action/.test(wrong.stdout)],
        [2, true],
        wrong.stdout,
      );
      assert.match((await run(['policy', 'check', 'policies.cedar', ...of])).stdout, /^2 policies, no problem$/m);
      assert.equal((await run(['policy', 'set', 'wrong.cedar', ...of])).exitCode, 2);
      const { version } = await ask(['policy', 'set', 'policies.cedar', ...of]);
      assert.equal((await run(['policy', 'set', 'policies.cedar', '--if-version', '1', ...of])).exitCode, 3);
      assert.deepEqual(await ask(['policy', 'get', ...of]), { version, policies });
      assert.equal((await run(['policy', 'get', ...of])).stdout, policies);

      assert.deepEqual(await ask(['subject', 'disable', 'agent', ...of]), ['agent']);
      assert.match((await run(['subject', 'list', ...of])).stdout, /^agent +disabled$/m);
      assert.deepEqual(await ask(['subject', 'enable', 'agent', ...of]), []);
      assert.deepEqual(await ask(['decision', 'list']), []);
      assert.deepEqual(await ask(['approval', 'list', '--all']), []);
      const replayed = await run(['policy', 'replay', ...of]);
      assert.deepEqual([replayed.exitCode, replayed.stdout], [0, '0 of 0 decisions came out differently\n']);

      await write(folder, { 'none.cedar': '' });
      await ask(['policy', 'set', 'none.cedar', ...of]);
      assert.deepEqual(await ask(['tool', 'remove', 'positions', ...of]), []);
      assert.deepEqual(await ask(['secret', 'remove', 'db', ...of]), []);
      for (const [args, expected] of [
        [['policy', 'chekc', 'x'], /policy check/],
        [['policy', 'check'], /a file with policies/],
        [['policy', 'check', 'none-such.cedar'], /cannot be read/],
        [['policy', 'replay', '--since', 'tomorrow'], /7d/],
        [['policy', 'explain', 'x'], /bulkhead decision list/],
        [['approval', 'refuse', `apr_${'0'.repeat(26)}`], /--reason/],
        [['approval', 'list', '--state', 'pendin'], /Did you mean pending/],
        [['decision', 'list', '--outcome', 'no'], /allow, deny, ask/],
      ] as const) {
        const { exitCode, stderr } = await run(args);
        assert.equal(exitCode, 2, args.join(' '));
        assert.match(stderr, expected);
      }
    });
  },
  { concurrency: 1 },
);

describe('policies without a server', { concurrency: 1 }, () => {
  it('are checked and tested against tools in a file', async () => {
    await using folder = await makeFolder();
    const tests = {
      session: { labels: { desk: 'rates' } },
      cases: [
        {
          name: 'reads',
          call: 'positions.query',
          arguments: { sql: 'SELECT 1' },
          expect: 'allow',
          policies: ['reads'],
        },
        {
          name: 'no notes',
          call: 'positions.query',
          arguments: { sql: 'SELECT note' },
          expect: 'deny',
          policies: ['no-notes'],
        },
        {
          name: 'not granted',
          call: 'positions.query',
          session: { grant: [] },
          arguments: { sql: '1' },
          expect: 'deny',
        },
        { name: 'twice', call: 'positions.query', arguments: '{"sql":"1","sql":"2"}', expect: 'invalid' },
      ],
    };
    const wrong = { cases: [{ ...tests.cases[1], name: 'wrong', expect: 'allow' }] };
    const tools = [{ name: 'positions', settings: JSON.parse(settings()) }];
    await write(folder, {
      'policies.cedar': policies,
      'tests.json': JSON.stringify(tests),
      'wrong.json': JSON.stringify(wrong),
      'broken.json': '{"cases":[{"name":"x","call":"nothing","expect":"maybe"}]}',
      'tools.json': JSON.stringify(tools),
    });
    const run = (...args: readonly string[]) => callCli(['policy', ...args], { cwd: folder.path });
    const offline = ['--tools', 'tools.json', '--policies', 'policies.cedar'];
    const passed = await run('test', 'tests.json', ...offline);
    assert.equal(passed.exitCode, 0, passed.stdout + passed.stderr);
    assert.match(passed.stdout, /^ok +no notes +deny no-notes +deny no-notes +policy$/m);
    assert.match(passed.stdout, /^4 passed, 0 failed$/m);
    const failed = await run('test', 'wrong.json', ...offline);
    assert.equal(failed.exitCode, 1);
    assert.match(failed.stdout, /^FAILED +wrong/m);
    const told = await run('test', 'wrong.json', ...offline, '--json');
    assert.deepEqual([told.exitCode, JSON.parse(told.stdout)[0].outcome], [1, 'deny']);
    const broken = await run('test', 'broken.json', ...offline);
    assert.equal(broken.exitCode, 2);
    assert.match(broken.stderr, /cases\.0\.call: expected tool\.operation/);
    assert.equal((await run('check', 'policies.cedar', '--tools', 'tools.json')).exitCode, 0);
    assert.match((await run('test', 'tests.json', '--tools', 'tools.json')).stderr, /--policies FILE/);
  });
});

describe('calls that wait for a person', { concurrency: 1 }, () => {
  let running: TestServer | undefined;
  before(async () => {
    running = await startTestServer();
  });
  after(async () => {
    await running?.[Symbol.asyncDispose]();
  });

  it('are listed, shown and answered; what was decided is explained, compared and replayed', async () => {
    await using folder = await makeFolder();
    const { env, server } = running ?? assert.fail('it runs');
    await write(folder, {
      'tool.json': settings(),
      'asks.cedar': '@id("asks") @approval("required") permit(principal, action, resource);',
      'none.cedar': '',
    });
    const run = (args: readonly string[], as: Readonly<Record<string, string>> = env, input = '') =>
      callCli(args, { env: as, cwd: folder.path, input });
    // oxlint-disable-next-line typescript/no-explicit-any -- as above
    const ask = async (args: readonly string[], as = env, input?: string): Promise<any> =>
      documentOf(await run([...args, '--json'], as, input));
    await ask(['secret', 'set', 'db'], env, 'a secret');
    await ask(['tool', 'set', 'positions', 'tool.json']);
    await ask(['policy', 'set', 'asks.cedar']);
    const asAgent = {
      ...env,
      BULKHEAD_API_KEY: (await ask(['key', 'create', 'a', '--role', 'developer', '--subject', 'agent'])).secret,
    };
    const asBoss = {
      ...env,
      BULKHEAD_API_KEY: (await ask(['key', 'create', 'b', '--role', 'approver', '--subject', 'boss'])).secret,
    };
    const { id: session } = await ask(['session', 'create', '--grant', 'positions.*'], asAgent);
    const turn = fetch(`${server.url}/v1/sessions/${session}/turns`, {
      method: 'POST',
      headers: { authorization: `Bearer ${asAgent.BULKHEAD_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        code: 'bulkhead-tool positions query --json {"sql":"SELECT \'аcme\u202e\'"}',
        language: 'bash',
      }),
    });
    let id = '';
    await until(async () => {
      id = (await ask(['approval', 'list', '--session', session], asBoss))[0]?.id ?? '';
      return id !== '';
    }, 'a call waits');
    const shown = (await run(['approval', 'show', id], asBoss)).stdout;
    assert.match(shown, /^subject +agent$/m);
    // A letter of another alphabet, and one that turns text around.
    assert.ok(shown.includes(String.raw`{"sql":"SELECT 'аcme\u202e'"}`), shown);
    assert.ok(shown.includes(String.raw`{"sql":"SELECT '\u0430cme\u202e'"}`), shown);
    assert.equal((await run(['approval', 'approve', id], asAgent)).exitCode, 84);
    const approved = await ask(['approval', 'approve', id, '--reason', 'fine'], asBoss);
    assert.deepEqual([approved.state, approved.answeredBy, approved.reason], ['approved', 'boss', 'fine']);
    assert.match(await (await turn).text(), /rows/);
    assert.equal((await run(['approval', 'refuse', id, '--reason', 'late'], asBoss)).exitCode, 3);

    const [done] = await ask(['decision', 'list', '--session', session, '--since', '1h']);
    assert.deepEqual([done.outcome, done.approval, done.error], ['ask', id, null]);
    assert.match((await run(['decision', 'show', done.id])).stdout, /^policies +asks$/m);
    const why = (await run(['policy', 'explain', done.id])).stdout;
    assert.match(why, /^grant +positions\.\*$/m);
    assert.ok(why.includes('@id("asks") @approval("required") permit(principal, action, resource);'));
    assert.match(why, /^resource +Database portfolio$/m);
    const diff = await run(['policy', 'diff', 'none.cedar', '--session', session]);
    assert.equal(diff.exitCode, 0);
    assert.match(diff.stdout, new RegExp(`^${done.id} .* ask asks +deny$`, 'm'));
    assert.match(diff.stdout, /^2 of 2 decisions would come out differently$/m);
    const replayed = await run(['policy', 'replay', '--session', session, '--last', '1']);
    assert.deepEqual([replayed.exitCode, replayed.stdout], [0, '0 of 1 decisions came out differently\n']);
    await write(folder, {
      'tests.json': JSON.stringify({
        cases: [{ name: 'asks', call: 'positions.query', arguments: { sql: '1' }, expect: 'ask' }],
      }),
    });
    assert.equal((await run(['policy', 'test', 'tests.json'])).exitCode, 0, 'with what the tenant has');
  });
});
