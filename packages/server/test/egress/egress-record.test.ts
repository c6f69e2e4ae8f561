// Rules kept in a real PostgreSQL, and what their connections leave on record there.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeId, toolSettingsSchema } from '@bulkhead/protocol';
import { PolicyEngine } from '../../src/authority/policy-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { SessionEgress } from '../../src/sessions/session-egress.ts';
import { attachAll } from '../../src/sessions/session-tools.ts';
import { Sessions } from '../../src/sessions/sessions.ts';
import { StoredDecisions } from '../../src/sessions/stored-decisions.ts';
import { ToolCalls } from '../../src/sessions/tool-calls.ts';
import { LocalKeyFile } from '../../src/snapshots/key-encryption.ts';
import { unbounded } from '../../src/store/tenant-row.ts';
import { TenantAuthority } from '../../src/tools/tenant-authority.ts';
import { openKept } from '../tools/kept.ts';
import { eventually } from './eventually.ts';
import { askThrough, openReceiver, resolverOf } from './outside.ts';

test('rules are administered like tools, and connections are decisions that can be asked again', async () => {
  await using kept = await openKept();
  await using receiver = await openReceiver(undefined, (_, response) => response.end(Buffer.alloc(400_000, 'x')));
  const encryption = await LocalKeyFile.open(join(kept.path, 'key'), { create: true });
  await using authority = new TenantAuthority({ store: kept.store.authority, encryption, clock: systemClock });
  const engine = new PolicyEngine();
  const log = new StoredDecisions({ store: kept.store.decisions, keys: kept.keys, clock: systemClock, engine });
  const resolver = resolverOf({ 'a.example.com': ['127.0.0.1'] });
  const options = { engine, source: authority, log, clock: systemClock, region: 'here', resolver };
  const tenant = makeId('tenant');
  const row = {
    id: tenant,
    name: 'acme',
    quotas: unbounded,
    minimumTier: null,
    retentionDays: 30,
    createdAtUnixMs: Date.now(),
  };
  assert.ok(await kept.store.tenants.insert(row));

  const { port } = receiver;
  const rule = toolSettingsSchema.parse({
    kind: 'egress',
    description: 'prices',
    hosts: ['a.example.com'],
    scheme: 'http',
    port,
    addresses: ['127.0.0.1/32'],
    bytesMax: 1_000_000,
  });
  const policies =
    '@id("all") permit(principal, action == Bulkhead::Action::"prices.connect", resource == Bulkhead::Host::"a.example.com");';
  await assert.rejects(authority.putTool(tenant, 'prices', { ...rule, hosts: ['xn--a.example.com'] } as typeof rule), {
    code: 'invalid_request',
  });
  await authority.putTool(tenant, 'prices', rule);
  await authority.putPolicies(tenant, policies);
  await assert.rejects(authority.putTool(tenant, 'prices', null), { code: 'state_conflict' }, 'a policy names it');

  const runtime = new FakeRuntime({ clock: systemClock });
  const tools = attachAll(new ToolCalls(options), new SessionEgress(options));
  await using sessions = new Sessions({ runtimes: [runtime], tools });
  const session = await sessions.createSession({ tenant, grant: ['prices.connect'] });
  const guest = [...runtime.machines.values()].at(-1)?.guest ?? assert.fail('there is a machine');
  const ask = async (host: string): Promise<string> => {
    const text = await askThrough(
      guest,
      `GET http://${host}:${port}/ HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: close\r\n\r\n`,
    );
    return text.slice(9, 12);
  };
  assert.equal(await ask('a.example.com'), '200');
  assert.equal(await ask('b.example.com'), '403');
  assert.equal(await ask('127.0.0.1'), '403');
  // It is no tool to be called, and none that is shown.
  const called = await guest.call?.(
    'prices',
    'connect',
    JSON.stringify({ host: 'a.example.com', port, scheme: 'http' }),
  );
  assert.equal(called?.ok === false ? called.error.code : '', 'tool_denied');
  assert.deepEqual(guest.catalogue, { tools: [] });

  // What has been carried stays counted when somebody else goes on with the session, whose proxy knows nothing of before.
  const successor = new SessionEgress(options);
  const { guest: later } = await runtime.launch({ tenant, session: session.id, size: 'small' });
  await successor.attach(() => session.record, later);
  const again = async (): Promise<string> =>
    (
      await askThrough(
        later,
        `GET http://a.example.com:${port}/ HTTP/1.1\r\nHost: a.example.com:${port}\r\nConnection: close\r\n\r\n`,
      )
    ).slice(9, 12);
  assert.equal(await again(), '200');
  const cut = await askThrough(
    later,
    `GET http://a.example.com:${port}/ HTTP/1.1\r\nHost: a.example.com:${port}\r\nConnection: close\r\n\r\n`,
  );
  assert.ok(cut.length < 400_000);
  await authority.setSubjectDisabled(tenant, session.record.subject, true);
  assert.equal(await again(), '403', 'its subject is disabled');
  await authority.setSubjectDisabled(tenant, session.record.subject, false);
  await authority.putPolicies(tenant, '');
  assert.equal(await again(), '403');

  const list = async () => (await log.list(tenant, { session: session.id })).items.toReversed();
  let items = await list();
  await eventually('every record has its end', () => {
    void list().then((found) => (items = found));
    return items.every(({ outcome, endedAtUnixMs }) => outcome === 'deny' || endedAtUnixMs !== null);
  });
  assert.deepEqual(
    items.map(({ action, outcome, reason, error }) => [action, outcome, reason, error]),
    [
      ['prices.connect', 'allow', 'policy', null],
      ['prices.connect', 'deny', 'grant', null],
      ['prices.connect', 'deny', 'unknown', null],
      ['prices.connect', 'deny', 'unknown', null],
      ['prices.connect', 'allow', 'policy', null],
      ['prices.connect', 'allow', 'policy', 'limit_exceeded'],
      ['prices.connect', 'deny', 'subject', null],
      ['prices.connect', 'deny', 'no_policy', null],
    ],
  );
  assert.ok((items[0]?.receivedBytes ?? 0) > 400_000 && (items[0]?.sentBytes ?? 0) > 50);
  assert.ok(
    items.reduce((sum, { sentBytes, receivedBytes }) => sum + (sentBytes ?? 0) + (receivedBytes ?? 0), 0) <= 1_000_000,
  );
  assert.equal(items[1]?.sentBytes, null);
  const replays = await Promise.all(items.map((item) => log.replay(item)));
  assert.deepEqual(
    replays.map((replay) => replay?.same),
    [true, undefined, undefined, undefined, true, true, undefined, true],
  );
  const uncovered = items[1] ?? assert.fail('it is on record');
  assert.deepEqual(
    (await log.explain(uncovered)).request?.context,
    { host: 'b.example.com', port, scheme: 'http', method: 'GET' },
    'what was wanted is known',
  );
});
