// Guest code that uses the tools of its session: on a real machine, with a real PostgreSQL behind the tool.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type DecisionId, type ErrorJson, type Language, makeId } from '@bulkhead/protocol';
import { PolicyEngine } from '../../packages/server/src/authority/policy-engine.ts';
import { readPolicySet } from '../../packages/server/src/authority/policy-set.ts';
import { writeCedarSchema } from '../../packages/server/src/authority/cedar-schema.ts';
import type { Decision } from '../../packages/server/src/authority/decision-point.ts';
import { ToolCalls } from '../../packages/server/src/sessions/tool-calls.ts';
import { Sessions, loadConfig, openBulkhead, systemClock } from '@bulkhead/server';
import type { Bulkhead } from '@bulkhead/server';
import { type Portfolio, canary, openPortfolio } from '../../packages/server/test/tools/portfolio.ts';

let bulkhead: Bulkhead;
let portfolio: Portfolio;
before(async () => {
  bulkhead = await openBulkhead(loadConfig());
  await bulkhead.runtime.prepare('small', { onProgress: (message) => console.error(message) });
  portfolio = await openPortfolio();
});
after(async () => {
  await bulkhead[Symbol.asyncDispose]();
  await portfolio[Symbol.asyncDispose]();
});

test('a session uses what it was granted, from every language, and nothing else', async () => {
  await using positions = await portfolio.openTool('acme');
  const policies = readPolicySet(
    `@id("read-positions") permit(principal, action, resource in Bulkhead::Database::"portfolio");
     @id("no-secrets") forbid(principal, action == Bulkhead::Action::"positions.query", resource) when { context.sql like "*note*" };`,
    writeCedarSchema([positions.description]),
  );
  const decided: (Decision | { readonly id: DecisionId; readonly outcome: 'deny'; readonly reason: string })[] = [];
  const ended = new Map<DecisionId, ErrorJson | null>();
  await using sessions = new Sessions({
    runtimes: bulkhead.runtimes,
    tools: new ToolCalls({
      engine: new PolicyEngine(),
      source: {
        of: () => Promise.resolve({ tenantName: 'acme', tools: new Map([['positions', positions]]), policies }),
      },
      log: {
        begin: async (_, decision) => void decided.push(decision),
        refuse: async (_, id, action, reason) =>
          void decided.push({ id, outcome: 'deny', reason: `${action} ${reason}` }),
        end: async (_, id, error) => void ended.set(id, error),
      },
      clock: systemClock,
      region: 'here',
    }),
  });
  const tenant = makeId('tenant');
  const session = await sessions.createSession({ tenant, grant: ['positions.*'] });
  const run = async (code: string, language: Language = 'python'): Promise<string> => {
    const { stdout, stderr, exception } = await session.startTurn({ code, language }).result;
    return (stdout + stderr + (exception?.traceback ?? '')).trim();
  };

  assert.equal(
    await run('from bulkhead import tools; print(dir(tools), tools.positions.by_symbol)'),
    "['positions'] positions.by_symbol(*, symbol: 'str')",
  );
  assert.equal(
    await run('print(tools.positions.by_symbol(symbol="DAX").frame().to_dict("records"))'),
    "[{'symbol': 'DAX', 'quantity': 10}]",
  );
  assert.equal(
    await run(
      "console.log((await require('bulkhead').tools.positions.query({ sql: 'SELECT count(*)::int FROM positions' })).rows)",
      'javascript',
    ),
    '[ [ 2 ] ]',
  );
  assert.match(
    await run("bulkhead-tool positions query sql='SELECT symbol FROM positions ORDER BY 1' | tr -d ' \\n'", 'bash'),
    /"rows":\[\["DAX"\],\["SMI"\]\]/,
  );

  const denied = await run(
    'try: tools.positions.query(sql="SELECT note FROM positions")\nexcept Exception as error: print(error.code, error.decision)',
  );
  const refused = decided.at(-1);
  assert.equal(denied, `tool_denied ${refused?.id}`);
  assert.deepEqual(
    [refused?.outcome, refused !== undefined && 'policies' in refused ? refused.policies : []],
    ['deny', ['no-secrets']],
  );
  assert.match(
    await run('from bulkhead.tools import call_tool\ncall_tool("positions", "no_such", {})'),
    /tool_denied|may not do this/,
  );
  assert.match(await run('call_tool("payments", "send", {})'), /may not do this/);
  const other = await run(
    "print(tools.positions.query(sql=\"SELECT * FROM positions WHERE tenant = 'globex'\")['rows'])",
  );
  assert.equal(other, '[]');
  assert.ok(!JSON.stringify(decided).includes(canary));

  // A fork may no more than its parent; what is asleep comes back with the same rights.
  const [child] = await sessions.forkSession(tenant, session.id, 1, { grant: ['positions.by_symbol'] });
  assert.ok(child);
  await assert.rejects(sessions.forkSession(tenant, session.id, 1, { grant: ['payments.*'] }), { code: 'forbidden' });
  const forked = await sessions.startTurn(tenant, child.id, {
    code: 'print(tools.positions.by_symbol(symbol="SMI")["rows"], dir(tools.positions))\ntools.positions.by_symbol(symbol="SMI"); call_tool("positions", "query", {"sql": "SELECT 1"})',
  }).result;
  assert.equal(forked.stdout.trim(), "[['SMI', 20]] ['by_symbol']");
  assert.equal(forked.exception?.name, 'ToolError');

  // A session that was granted nothing has no road at all.
  const poor = await sessions.createSession({ tenant });
  const { stdout } = await poor.startTurn({
    code: 'from bulkhead import tools\ntry: tools.positions\nexcept Exception as error: print(error)',
  }).result;
  assert.equal(stdout.trim(), 'This session has no tools.');
  assert.ok([...ended.values()].every((error) => error === null));
});
