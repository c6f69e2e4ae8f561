// Tenants, their keys and their answers, put together over what is kept; and the reconciler, which needs no input: it removes what is over.

import type { Config } from './config/config.ts';
import type { Keeping } from './keep-sessions.ts';
import { type Clock, systemClock } from './lib/clock.ts';
import { ShortMemory } from './lib/short-memory.ts';
import { type Forgotten, forgetTenant, forgetTurns } from './sessions/retention.ts';
import type { Sessions } from './sessions/sessions.ts';
import { CallerAccess } from './tenants/caller-access.ts';
import { ensureFirstTenant } from './tenants/first-tenant.ts';
import { RateLimits } from './tenants/rate-limits.ts';
import { StoredAnswers } from './tenants/stored-answers.ts';
import { StoredApiKeys } from './tenants/stored-api-keys.ts';
import { StoredTenants } from './tenants/stored-tenants.ts';
import type { Access, ApiKeys, Idempotency, IssuedApiKey, Tenants } from './tenants/tenancy.ts';
import { TokenVerifier } from './tenants/token-verifier.ts';

export interface Tenancy extends AsyncDisposable {
  readonly tenants: Tenants;
  readonly keys: ApiKeys;
  readonly access: Access;
  readonly idempotency: Idempotency;
  /** A tenant and its key on the first start; undefined on every other. */
  ensureFirstTenant(): Promise<IssuedApiKey | undefined>;
  /** Now, in place of some time soon. `days`: the retention of every tenant, in place of its own. */
  reconcile(days?: number): Promise<Reconciled>;
}

export interface Reconciled extends Forgotten {
  /** Answers to idempotency keys that have expired. */
  readonly answers: number;
  /** Deleted tenants that had something left on this host. */
  readonly tenants: number;
}

const reconcileEveryMs = 600_000;
/** What is revoked or deleted on another server is noticed within as long. */
const knownMs = 1000;
const knownMaxCount = 10_000;
const answersAtOnce = 1000;

export interface TenancyOptions {
  readonly config: Pick<Config, 'quotas' | 'retentionDays' | 'oidc'>;
  readonly keeping: Keeping;
  readonly sessions: Sessions;
  readonly clock?: Clock;
}

export function openTenancy({ config, keeping, sessions, clock = systemClock }: TenancyOptions): Tenancy {
  const { store, turnKeys } = keeping;
  const defaults = { quotas: config.quotas, retentionDays: config.retentionDays };
  const remember = <Value>(read: (id: string) => Promise<Value>): ShortMemory<Value> =>
    new ShortMemory({ clock, read, maxAgeMs: knownMs, maxCount: knownMaxCount });
  const knownKeys = remember((id) => store.keys.find(id));
  const knownTenants = remember((idOrName) => store.tenants.find(idOrName));
  const tenants = new StoredTenants({
    store,
    clock,
    defaults,
    known: knownTenants,
    endSessions: async (tenant) => {
      await Promise.all(sessions.listSessions(tenant).map(({ id }) => sessions.terminateSession(tenant, id)));
    },
    destroyKeys: (tenant) => forgetTenant({ keys: turnKeys }, tenant),
  });
  const work = async (days?: number): Promise<Reconciled> => {
    const deleted = await tenants.removeDeleted();
    const forgotten = await forgetTurns({ store, keys: turnKeys, clock }, days);
    let answers = 0;
    for (let removed = answersAtOnce; removed === answersAtOnce; answers += removed) {
      removed = await store.idempotency.removeExpired(answersAtOnce);
    }
    return { ...forgotten, answers, tenants: deleted };
  };
  const reconciler = new Reconciler(work);
  return {
    tenants,
    keys: new StoredApiKeys({ store: store.keys, clock, known: knownKeys }),
    access: new CallerAccess({
      clock,
      keys: knownKeys,
      tenants: knownTenants,
      keyStore: store.keys,
      tokens: config.oidc === undefined ? undefined : new TokenVerifier(config.oidc),
      rates: new RateLimits(clock),
    }),
    idempotency: new StoredAnswers({ store: store.idempotency, keys: turnKeys, clock }),
    ensureFirstTenant: () => ensureFirstTenant({ store, clock, defaults }),
    reconcile: (days) => reconciler.run(days),
    [Symbol.asyncDispose]: () => reconciler[Symbol.asyncDispose](),
  };
}

/** One at a time, every so often and when it is asked for. What fails is tried again the next time. */
class Reconciler implements AsyncDisposable {
  readonly #work: (days?: number) => Promise<Reconciled>;
  readonly #timer: NodeJS.Timeout;
  #last: Promise<unknown> = Promise.resolve();

  constructor(work: (days?: number) => Promise<Reconciled>) {
    this.#work = work;
    this.#timer = setInterval(() => void this.run().catch(() => undefined), reconcileEveryMs);
    this.#timer.unref();
  }

  run(days?: number): Promise<Reconciled> {
    const next = this.#last.then(() => this.#work(days));
    this.#last = next.catch(() => undefined);
    return next;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#last;
  }
}
