// Calls of tools that wait for a person, as the store keeps them: what is asked sealed, bound to its decision and the digest of its arguments, answered
// once. A call waits in this process; who answers may do so on any server, so the store is looked at, one query for all that wait here.

import { setImmediate } from 'node:timers/promises';
import {
  type ApprovalId,
  type ApprovalState,
  BulkheadError,
  type DecisionId,
  type KeyId,
  type SessionId,
  type TenantId,
  limits,
} from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import type { Decision } from '../authority/decision-point.ts';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { DayKeys } from '../sealing/day-keys.ts';
import type { ApprovalRow, ApprovalStore } from '../store/approval-store.ts';
import type { SessionRecord } from './session-record.ts';

export interface StoredApprovalsOptions {
  readonly store: ApprovalStore;
  readonly keys: DayKeys;
  /** How long a call waits for an answer. */
  readonly timeoutMs: number;
}

/** An approval as it is told. */
export type ApprovalFacts = Omit<ApprovalRow, 'id' | 'session' | 'decision' | 'state' | 'answeredWith'> & {
  readonly id: ApprovalId;
  readonly session: SessionId;
  readonly decision: DecisionId;
  readonly state: ApprovalState;
  readonly answeredWith: KeyId | null;
};

/** What a person is asked about. */
export interface Asked {
  /** In the canonical form that was decided on. */
  readonly arguments: string;
  /** As policies name it. */
  readonly resource: string;
}

export interface Answer {
  readonly state: 'approved' | 'refused';
  /** The subject that answers, and with which key. */
  readonly by: string;
  readonly key: KeyId | null;
  readonly reason: string | null;
}

const lookEveryMs = 250;
const settleEveryMs = 5000;

export class StoredApprovals implements AsyncDisposable {
  readonly #options: StoredApprovalsOptions;
  /** Calls of this process, by what they wait for. */
  readonly #waiting = new Map<ApprovalId, (state: ApprovalState) => void>();
  readonly #calls = new Set<Promise<unknown>>();
  readonly #timers: readonly NodeJS.Timeout[];
  #looking: Promise<unknown> | undefined;
  #stopped = false;

  constructor(options: StoredApprovalsOptions) {
    this.#options = options;
    this.#timers = [
      setInterval(() => void this.#look().catch(() => undefined), lookEveryMs),
      setInterval(() => void options.store.settle().catch(() => undefined), settleEveryMs),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  /** False when too many wait already. Errors: `store_unavailable`. */
  async ask(id: ApprovalId, session: SessionRecord, decision: Decision, checked: Arguments): Promise<boolean> {
    const { keys, store, timeoutMs } = this.#options;
    const { tenant } = session;
    const sealedWith = keys.today();
    const { type, id: name } = decision.resource;
    const asked: Asked = { arguments: checked.canonical, resource: `${type} ${name}` };
    const row = {
      id,
      tenant,
      session: session.id,
      subject: session.subject,
      decision: decision.id,
      action: decision.action,
      policies: decision.policies,
      argumentsDigest: decision.argumentsDigest,
      sealedWith,
      request: await keys.seal({ tenant, sealedWith, what: `approval ${id} request` }, JSON.stringify(asked)),
    };
    const most = { ofSession: limits.approvalsPerSessionMaxCount, ofTenant: limits.approvalsPerTenantMaxCount };
    return await store.insert(row, timeoutMs, most);
  }

  /**
   * How it came out: never `pending`. Who gives up cancels it, unless it was answered before; then too it is `cancelled` for who gave up. Never rejects: a
   * store that does not answer is asked again for as long as the call waits.
   */
  answerOf(tenant: TenantId, id: ApprovalId, signal: AbortSignal): Promise<ApprovalState> {
    const call = this.#wait(tenant, id, signal);
    this.#calls.add(call);
    void call.finally(() => this.#calls.delete(call));
    return call;
  }

  async #wait(tenant: TenantId, id: ApprovalId, signal: AbortSignal): Promise<ApprovalState> {
    const settled = Promise.withResolvers<ApprovalState>();
    const giveUp = (): void => settled.resolve('cancelled');
    this.#waiting.set(id, settled.resolve);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      const state = signal.aborted || this.#stopped ? 'cancelled' : await settled.promise;
      if (state !== 'cancelled' && !signal.aborted) return state;
      // What cannot be written down now, `settle` writes down when its time is over.
      await this.#options.store.cancel(tenant, id).catch(() => undefined);
      return 'cancelled';
    } finally {
      signal.removeEventListener('abort', giveUp);
      this.#waiting.delete(id);
    }
  }

  /** Errors: `not_found`. */
  async get(tenant: TenantId, id: ApprovalId): Promise<ApprovalFacts> {
    const row = await this.#options.store.get(tenant, id);
    if (row === undefined) throw new BulkheadError('not_found', `There is no approval ${id}.`);
    return toFacts(row);
  }

  /** Newest first. Errors: `invalid_request` for a cursor that is none. */
  async list(
    tenant: TenantId,
    filter: { readonly state?: ApprovalState; readonly session?: SessionId } = {},
    { limit = limits.pageDefaultCount, cursor }: PageRequest = {},
  ): Promise<Page<ApprovalFacts>> {
    const before = cursor === undefined ? {} : { before: readCursor(cursor) };
    const rows = await this.#options.store.page(tenant, { ...filter, ...before, limit: limit + 1 });
    return toPage(rows.map(toFacts), limit, ({ createdAtUnixMs, id }) => ({ unixMs: createdAtUnixMs, id }));
  }

  /** Errors: `key_unavailable` when its retention is over. */
  async asked({ id, tenant, sealedWith, request }: ApprovalFacts): Promise<Asked> {
    const text = await this.#options.keys.open({ tenant, sealedWith, what: `approval ${id} request` }, request);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- sealed by `ask`, from one
    return JSON.parse(text) as Asked;
  }

  /** Errors: `not_found`; `state_conflict` with `details.state` when it is not pending any more. */
  async answer(tenant: TenantId, id: ApprovalId, answer: Answer): Promise<ApprovalFacts> {
    const { store } = this.#options;
    // A call whose server has gone waits no more.
    await store.settle();
    const taken = await store.answer(tenant, id, answer);
    const after = await this.get(tenant, id);
    this.#waiting.get(id)?.(after.state);
    if (taken) return after;
    throw new BulkheadError('state_conflict', `It is ${after.state}: there is nothing to answer any more.`, {
      details: { state: after.state },
    });
  }

  /** One at a time: a slow store is not asked more often than it answers. */
  async #look(): Promise<void> {
    if (this.#waiting.size === 0 || this.#looking !== undefined) return;
    const looking = this.#options.store.settled([...this.#waiting.keys()]);
    this.#looking = looking;
    try {
      const settled = await looking;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from these
      for (const [id, state] of settled) this.#waiting.get(id as ApprovalId)?.(state as ApprovalState);
    } finally {
      this.#looking = undefined;
    }
  }

  /** Calls that wait are cancelled, and those to come: sessions are about to be put to sleep, which a call under way would not let them. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const settle of this.#waiting.values()) settle('cancelled');
    await Promise.allSettled(this.#calls);
    // Whoever waited has said so to its guest by then.
    await setImmediate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const timer of this.#timers) clearInterval(timer);
    await this.#looking?.catch(() => undefined);
  }
}

function toFacts(row: ApprovalRow): ApprovalFacts {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from these
  return row as ApprovalFacts;
}
