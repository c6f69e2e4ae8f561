import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Tier, isAtLeast, runtimeNames, tiers } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { type Offer, checkTier, minimumSources, place, plan, strictest } from '../../src/placement/place.ts';

const qemu: Offer = { runtime: 'qemu', tier: 'vm-emulated', possibleTier: 'vm-emulated' };
const untried: Offer = { runtime: 'qemu', tier: 'vm-emulated', possibleTier: 'vm-kvm' };
const gvisor: Offer = { runtime: 'gvisor', tier: 'user-kernel', possibleTier: 'user-kernel' };

describe('placement', () => {
  it('takes the strongest tier, whatever the order, and the first of two that are alike', () => {
    assert.equal(place({ minima: {} }, [gvisor, qemu]), 'qemu');
    assert.equal(place({ minima: {} }, [{ ...qemu, tier: 'user-kernel' }, gvisor]), 'qemu');
    assert.equal(place({ minima: {} }, [gvisor, { ...qemu, tier: 'user-kernel' }]), 'gvisor');
  });

  it('takes what is asked for by name, and nothing in its place', () => {
    assert.equal(place({ runtime: 'gvisor', minima: {} }, [qemu, gvisor]), 'gvisor');
    const absent = [{ runtime: 'gvisor', why: 'There is no runsc here.' }] as const;
    assert.throws(() => place({ runtime: 'gvisor', minima: {} }, [qemu], absent), {
      code: 'host_unsupported',
      message: /There is no runsc here/,
    });
    assert.throws(() => place({ runtime: 'gvisor', minima: { host: 'vm-kvm' } }, [untried, gvisor]), {
      code: 'tier_unavailable',
    });
  });

  it('refuses a session whose minimum is a virtual machine where there is none, and says so', () => {
    assert.throws(() => place({ minima: { session: 'vm-emulated' } }, [gvisor]), {
      code: 'tier_unavailable',
      message: /The session requires vm-emulated, .* gvisor \(user-kernel\)\. Nothing was started\./,
      details: {
        minimum: 'vm-emulated',
        minima: { session: 'vm-emulated' },
        available: [{ runtime: 'gvisor', tier: 'user-kernel' }],
      },
    });
  });

  it("counts the strictest minimum, whosever it is, and says whose: a session cannot lower its tenant's", () => {
    const minima = { host: 'user-kernel', tenant: 'vm-kvm', session: 'user-kernel' } as const;
    assert.equal(strictest(minima), 'vm-kvm');
    assert.throws(() => place({ minima }, [qemu, gvisor]), { message: /The tenant requires vm-kvm/ });
  });

  it('may take a runtime that has not tried yet, and refuses it when it has', () => {
    const minima = { session: 'vm-kvm' } as const;
    assert.equal(place({ minima }, [untried, gvisor]), 'qemu');
    assert.throws(() => checkTier('vm-emulated', minima, 'qemu'), { code: 'tier_unavailable' });
    checkTier('vm-kvm', minima, 'qemu');
  });

  it('explains each runtime, those that are absent too', () => {
    const planned = plan({ minima: {} }, [gvisor, qemu], [{ runtime: 'fake', why: 'It is for tests.' }]);
    assert.deepEqual([planned.runtime, planned.tier, planned.minimum], ['qemu', 'vm-emulated', 'none']);
    assert.deepEqual(planned.candidates, [
      { runtime: 'qemu', tier: 'vm-emulated', why: 'the strongest tier here (vm-emulated)' },
      { runtime: 'gvisor', tier: 'user-kernel', why: 'weaker than qemu' },
      { runtime: 'fake', tier: undefined, why: 'It is for tests.' },
    ]);
  });

  it('never takes one that cannot meet every minimum, and never passes over one that could (property)', () => {
    const tier = fc.constantFrom(...tiers);
    const offer = fc
      .record({ runtime: fc.constantFrom(...runtimeNames), tier, possible: tier })
      .map(({ runtime, tier: proved, possible }) => ({
        runtime,
        tier: proved,
        possibleTier: isAtLeast(possible, proved) ? possible : proved,
      }));
    const offers = fc.uniqueArray(offer, { selector: ({ runtime }) => runtime });
    const minima = fc.record({ host: tier, tenant: tier, session: tier }, { requiredKeys: [] });
    fc.assert(
      fc.property(offers, minima, fc.option(fc.constantFrom(...runtimeNames)), (all, required, asked) => {
        const request = { minima: required, ...(asked === null ? {} : { runtime: asked }) };
        const meets = (found: Tier): boolean =>
          minimumSources.every((source) => isAtLeast(found, required[source] ?? 'none'));
        const could = all.filter(
          ({ runtime, possibleTier }) => (asked === null || runtime === asked) && meets(possibleTier),
        );
        const taken = plan(request, all).runtime;
        if (taken === undefined) {
          assert.deepEqual(could, []);
          assert.throws(() => place(request, all), { code: /tier_unavailable|host_unsupported/ });
          return;
        }
        const chosen = could.find(({ runtime }) => runtime === taken);
        assert.ok(chosen !== undefined);
        const proved = could.filter(({ tier: found }) => meets(found));
        if (proved.length > 0) assert.ok(proved.every(({ tier: found }) => isAtLeast(chosen.tier, found)));
      }),
    );
  });
});
