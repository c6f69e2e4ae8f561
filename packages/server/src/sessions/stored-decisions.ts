// What was decided about calls of tools, as the store keeps it: who, what and by which policies in the clear, what it was about sealed with the
// key of its tenant and day, since that has the arguments. Any decision can be asked again of the policies that it names.

import { BulkheadError, type DecisionId, type ErrorJson, type SessionId, type TenantId } from '@bulkhead/protocol';
import type { Decision } from '../authority/decision-point.ts';
import type { PolicyAnswer, PolicyEngine, PolicyRequest } from '../authority/policy-engine.ts';
import { readPolicySet } from '../authority/policy-set.ts';
import type { Clock } from '../lib/clock.ts';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { DayKeys } from '../sealing/day-keys.ts';
import type { DecisionRow, DecisionStore } from '../store/decision-store.ts';
import type { SessionRecord } from './session-record.ts';
import type { Transferred } from './egress-use.ts';
import type { EgressLog } from './session-egress.ts';
import type { Refusal } from './tool-calls.ts';

const pageDefault = 50;

export interface StoredDecisionsOptions {
  readonly store: DecisionStore;
  readonly keys: DayKeys;
  readonly clock: Clock;
  readonly engine: PolicyEngine;
}

/** A decision as it is told. */
export type DecisionFacts = Omit<DecisionRow, 'id' | 'session' | 'outcome' | 'reason'> & {
  readonly id: DecisionId;
  readonly session: SessionId;
  readonly outcome: PolicyAnswer['outcome'];
  readonly reason: PolicyAnswer['reason'] | Refusal;
};

export interface Replay {
  readonly answer: Pick<PolicyAnswer, 'outcome' | 'policies'>;
  /** What the policies saw of the arguments. */
  readonly context: PolicyRequest['context'];
  /** Outcome, reason and policies are those of the record. */
  readonly same: boolean;
}

export class StoredDecisions implements EgressLog {
  readonly #options: StoredDecisionsOptions;

  constructor(options: StoredDecisionsOptions) {
    this.#options = options;
  }

  async begin(session: SessionRecord, decision: Decision): Promise<void> {
    const { keys, store, clock } = this.#options;
    const { tenant, id: sessionId, epoch } = session;
    const { id, action, outcome, reason, policies, policySet, argumentsDigest, request } = decision;
    const sealedWith = keys.today();
    const sealed = await keys.seal({ tenant, sealedWith, what: `decision ${id} request` }, JSON.stringify(request));
    const row = {
      id,
      tenant,
      session: sessionId,
      epoch,
      action,
      outcome,
      reason,
      policies,
      argumentsDigest,
      sealedWith,
    };
    const { version, schema, text } = policySet;
    await store.insert(
      { ...row, policyVersion: version, request: sealed, decidedAtUnixMs: clock.unixMs() },
      { version, schema, policies: text },
    );
  }

  async refuse(session: SessionRecord, id: DecisionId, action: string, reason: Refusal): Promise<void> {
    const { store, clock } = this.#options;
    const { tenant, id: sessionId, epoch } = session;
    const nothingAsked = { policies: [], policyVersion: null, argumentsDigest: null, sealedWith: null, request: null };
    const row = { id, tenant, session: sessionId, epoch, action, outcome: 'deny', reason, ...nothingAsked };
    await store.insert({ ...row, decidedAtUnixMs: clock.unixMs() });
  }

  async end(
    { tenant }: SessionRecord,
    id: DecisionId,
    error: ErrorJson | null,
    transferred?: Transferred,
  ): Promise<void> {
    const { sentBytes = null, receivedBytes = null } = transferred ?? {};
    const end = { error: error?.code ?? null, sentBytes, receivedBytes };
    await this.#options.store.end(tenant, id, this.#options.clock.unixMs(), end);
  }

  async transferred({ tenant, id }: SessionRecord, action: string): Promise<number> {
    return await this.#options.store.transferredBytes(tenant, id, action);
  }

  /** Errors: `not_found`. */
  async get(tenant: TenantId, id: DecisionId): Promise<DecisionFacts> {
    const row = await this.#options.store.get(tenant, id);
    if (row === undefined) throw new BulkheadError('not_found', `There is no decision ${id}.`);
    return toFacts(row);
  }

  /** Newest first. Errors: `invalid_request` for a cursor that is none. */
  async list(
    tenant: TenantId,
    filter: { readonly session?: string; readonly outcome?: string },
    { limit = pageDefault, cursor }: PageRequest = {},
  ): Promise<Page<DecisionFacts>> {
    const before = cursor === undefined ? {} : { before: readCursor(cursor) };
    const rows = await this.#options.store.page(tenant, { ...filter, ...before, limit: limit + 1 });
    return toPage(rows.map(toFacts), limit, ({ decidedAtUnixMs, id }) => ({ unixMs: decidedAtUnixMs, id }));
  }

  /** What the policies were asked; null where they were not. Errors: `key_unavailable` when its retention is over. */
  async request({ id, tenant, sealedWith, request }: DecisionFacts): Promise<PolicyRequest | null> {
    if (request === null || sealedWith === null) return null;
    const text = await this.#options.keys.open({ tenant, sealedWith, what: `decision ${id} request` }, request);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- sealed by `begin`, from one
    return JSON.parse(text) as PolicyRequest;
  }

  /** Asks the policies that it names again. Undefined where none were asked. Errors: `not_found`, `key_unavailable`. */
  async replay(decision: DecisionFacts): Promise<Replay | undefined> {
    const request = await this.request(decision);
    if (request === null || decision.policyVersion === null) return undefined;
    const { context } = request;
    if (decision.reason === 'grant') {
      // It was not granted: that is the record's, and no policy has a say in it.
      return { answer: { outcome: 'deny', policies: [] }, context, same: decision.outcome === 'deny' };
    }
    const kept = await this.#options.store.policySet(decision.tenant, decision.policyVersion);
    if (kept === undefined) throw new BulkheadError('not_found', 'The policies of this decision are not kept.');
    const answer = this.#options.engine.decide(readPolicySet(kept.policies, kept.schema), request);
    const same =
      answer.outcome === decision.outcome &&
      answer.reason === decision.reason &&
      answer.policies.join() === decision.policies.join();
    return { answer, context, same };
  }
}

function toFacts(row: DecisionRow): DecisionFacts {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from these
  return row as DecisionFacts;
}
