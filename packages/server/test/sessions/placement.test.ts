import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type RuntimeName, type Tier, makeId } from '@bulkhead/protocol';
import { FakeRuntime } from '../../src/runtimes/fake/fake-runtime.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { type CreateSessionRequest, Sessions } from '../../src/sessions/sessions.ts';
import { MemoryKeeper } from './memory-keeper.ts';

interface Host {
  readonly clock: SteppedClock;
  readonly sessions: Sessions;
  readonly runtimes: readonly FakeRuntime[];
  readonly keeper: MemoryKeeper;
  create(request?: Omit<CreateSessionRequest, 'tenant'>): Promise<SessionRecord>;
}

const tenant = makeId('tenant');

function openHost(claims: readonly (readonly [RuntimeName, Tier, Tier?])[], tenantMinimum?: () => Tier): Host {
  const clock = new SteppedClock();
  const runtimes = claims.map(
    ([runtime, tier, possibleTier = tier]) => new FakeRuntime({ clock, claims: { runtime, tier, possibleTier } }),
  );
  const keeper = new MemoryKeeper();
  const sessions = new Sessions({
    runtimes,
    clock,
    keeper,
    minimaOf: () => (tenantMinimum === undefined ? {} : { tenant: tenantMinimum() }),
  });
  const create = async (request: Omit<CreateSessionRequest, 'tenant'> = {}): Promise<SessionRecord> => {
    const creating = sessions.createSession({ tenant, ...request });
    creating.catch(() => undefined);
    await clock.advance(0);
    return (await creating).record;
  };
  return { clock, sessions, runtimes, keeper, create };
}

const counts = ({ runtimes }: Host): readonly number[] => runtimes.map(({ machines }) => machines.size);

describe('sessions on several runtimes', () => {
  it('go to the strongest, or to the one that is named, and say where they are', async () => {
    const host = openHost([
      ['gvisor', 'user-kernel'],
      ['qemu', 'vm-emulated'],
    ]);
    const strongest = await host.create();
    assert.deepEqual([strongest.runtime, strongest.tier], ['qemu', 'vm-emulated']);
    assert.deepEqual(counts(host), [0, 1]);
    const named = await host.create({ runtime: 'gvisor' });
    assert.deepEqual([named.runtime, named.tier], ['gvisor', 'user-kernel']);
    assert.deepEqual(counts(host), [1, 1]);
  });

  it('are refused where no machine is strong enough; nothing is started, and there is no session', async () => {
    const host = openHost([['gvisor', 'user-kernel']]);
    await assert.rejects(host.create({ minimumTier: 'vm-emulated' }), { code: 'tier_unavailable' });
    assert.deepEqual([counts(host), host.sessions.listSessions(tenant)], [[0], []]);
    assert.equal((await host.create({ minimumTier: 'user-kernel' })).minimumTier, 'user-kernel', 'the control');
  });

  it('are refused by a runtime that turns out weaker than it might have been', async () => {
    const host = openHost([['qemu', 'vm-emulated', 'vm-kvm']]);
    await assert.rejects(host.create({ minimumTier: 'vm-kvm' }), { code: 'tier_unavailable' });
    assert.deepEqual(counts(host), [0]);
    assert.equal(host.sessions.listSessions(tenant)[0]?.state, 'failed');
  });

  it("cannot go below the tenant's minimum by asking for less, or by name", async () => {
    const host = openHost([['gvisor', 'user-kernel']], () => 'vm-kvm');
    await assert.rejects(host.create({ minimumTier: 'none' }), { code: 'tier_unavailable', message: /The tenant/ });
    await assert.rejects(host.create({ runtime: 'gvisor' }), { code: 'tier_unavailable' });
    assert.deepEqual(counts(host), [0]);
  });

  it('stay asleep when the minimum has been raised meanwhile, and wake when it is lowered', async () => {
    let minimum: Tier = 'none';
    const host = openHost([['gvisor', 'user-kernel']], () => minimum);
    const { id } = await host.create();
    await host.sessions.suspendSession(tenant, id);
    minimum = 'vm-emulated';
    await assert.rejects(host.sessions.resumeSession(tenant, id), { code: 'tier_unavailable' });
    assert.deepEqual([host.sessions.getSession(tenant, id).state, counts(host)], ['suspended', [0]]);
    await assert.rejects(host.sessions.forkSession(tenant, id), { code: 'tier_unavailable' });
    assert.deepEqual(counts(host), [0]);
    minimum = 'none';
    const waking = host.sessions.resumeSession(tenant, id);
    await host.clock.advance(0);
    assert.equal((await waking).state, 'ready');
  });

  it('wake on the runtime that they were on, and nowhere else', async () => {
    const both = openHost([
      ['qemu', 'vm-emulated'],
      ['gvisor', 'user-kernel'],
    ]);
    const { id } = await both.create({ runtime: 'gvisor' });
    const asleep = await both.sessions.suspendSession(tenant, id);
    const one = openHost([['qemu', 'vm-emulated']]);
    one.sessions.takeUp(asleep);
    await assert.rejects(one.sessions.resumeSession(tenant, id), { code: 'host_unsupported', message: /gvisor/ });
    assert.deepEqual([one.sessions.getSession(tenant, id).state, counts(one)], ['suspended', [0]]);
  });

  it('refuse names that there are not', async () => {
    const host = openHost([['qemu', 'vm-emulated']]);
    for (const request of [{ runtime: 'docker' }, { minimumTier: 'strong' }]) {
      // @ts-expect-error: what a caller without types may send.
      await assert.rejects(host.create(request), { code: 'invalid_request' });
    }
  });
});
