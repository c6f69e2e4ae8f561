// What was decided about calls of tools, as the store keeps it: who, what and by which policies in the clear, what it was about sealed with the
// key of its tenant and day, since that has the arguments. Any decision can be asked again of the policies that it names.

import { setImmediate } from 'node:timers/promises';
import {
  type ApprovalId,
  BulkheadError,
  type DecisionId,
  type ErrorJson,
  type SessionId,
  type TenantId,
} from '@bulkhead/protocol';
import type { Decision, Refusal } from '../authority/decision-point.ts';
import type { PolicyAnswer, PolicyEngine, PolicyRequest } from '../authority/policy-engine.ts';
import { type PolicySet, readPolicySet } from '../authority/policy-set.ts';
import type { Clock } from '../lib/clock.ts';
import { type Page, type PageRequest, readCursor, toPage } from '../lib/page.ts';
import type { DayKeys } from '../sealing/day-keys.ts';
import type { DecisionRow, DecisionStore } from '../store/decision-store.ts';
import type { SessionRecord } from './session-record.ts';
import type { Transferred } from './egress-use.ts';
import type { EgressLog } from './session-egress.ts';

const pageDefault = 50;

export interface StoredDecisionsOptions {
  readonly store: DecisionStore;
  readonly keys: DayKeys;
  readonly clock: Clock;
  readonly engine: PolicyEngine;
}

/** A decision as it is told. */
export type DecisionFacts = Omit<DecisionRow, 'id' | 'tenant' | 'session' | 'outcome' | 'reason' | 'approval'> & {
  readonly id: DecisionId;
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly outcome: PolicyAnswer['outcome'];
  readonly reason: PolicyAnswer['reason'] | Refusal;
  readonly approval: ApprovalId | null;
};

/** What is sealed of a decision: what policies were asked, and what the session was granted. */
interface Sealed extends Partial<PolicyRequest> {
  readonly grant?: readonly string[];
}

export interface Replay {
  readonly answer: PolicyAnswer;
  /** What the policies saw of the arguments. */
  readonly context: PolicyRequest['context'];
  /** Outcome, reason and policies are those of the record. */
  readonly same: boolean;
}

export interface Explanation {
  /** Those that determined it. */
  readonly policies: readonly { readonly id: string; readonly text: string }[];
  /** Null where it was not written down. */
  readonly grant: readonly string[] | null;
  /** Null where nothing was read of what was wanted. */
  readonly request: PolicyRequest | null;
}

export interface Change {
  readonly decision: DecisionFacts;
  readonly after: PolicyAnswer;
}

export interface Comparison {
  readonly compared: number;
  readonly notAsked: number;
  /** Their keys or policies are not kept any more. */
  readonly unreadable: number;
  readonly changes: readonly Change[];
  readonly nextCursor: string | null;
}

export class StoredDecisions implements EgressLog {
  readonly #options: StoredDecisionsOptions;

  constructor(options: StoredDecisionsOptions) {
    this.#options = options;
  }

  async begin(session: SessionRecord, decision: Decision, approval?: ApprovalId): Promise<void> {
    const { keys, store, clock } = this.#options;
    const { tenant, id: sessionId, epoch, grant } = session;
    const { id, action, outcome, reason, policies, policySet, argumentsDigest, request } = decision;
    const sealedWith = keys.today();
    const sealed: Sealed = { ...request, grant: grant.operations };
    const whom = { tenant, sealedWith, what: `decision ${id} request` };
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
      approval: approval ?? null,
    };
    const { version, schema, text } = policySet;
    const requestSealed = await keys.seal(whom, JSON.stringify(sealed));
    await store.insert(
      { ...row, policyVersion: version, request: requestSealed, decidedAtUnixMs: clock.unixMs() },
      { version, schema, policies: text },
    );
  }

  async refuse(session: SessionRecord, id: DecisionId, action: string, reason: Refusal): Promise<void> {
    const { store, keys, clock } = this.#options;
    const { tenant, id: sessionId, epoch, grant } = session;
    const sealedWith = keys.today();
    const sealed: Sealed = { grant: grant.operations };
    const request = await keys.seal({ tenant, sealedWith, what: `decision ${id} request` }, JSON.stringify(sealed));
    const nothingAsked = {
      policies: [],
      policyVersion: null,
      argumentsDigest: null,
      approval: null,
      sealedWith,
      request,
    };
    const row = { id, tenant, session: sessionId, epoch, action, outcome: 'deny', reason, ...nothingAsked };
    await store.insert({ ...row, decidedAtUnixMs: clock.unixMs() });
  }

  async end(
    { tenant }: SessionRecord,
    id: DecisionId,
    error: ErrorJson | null,
    transferred?: Transferred,
  ): Promise<void> {
    const { store, clock } = this.#options;
    const code = error?.code ?? null;
    if (transferred === undefined) await store.end(tenant, id, clock.unixMs(), code);
    else await store.endConnection(tenant, id, clock.unixMs(), { error: code, ...transferred });
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
    filter: { readonly session?: string; readonly outcome?: string; readonly sinceUnixMs?: number },
    { limit = pageDefault, cursor }: PageRequest = {},
  ): Promise<Page<DecisionFacts>> {
    const before = cursor === undefined ? {} : { before: readCursor(cursor) };
    const rows = await this.#options.store.page(tenant, { ...filter, ...before, limit: limit + 1 });
    return toPage(rows.map(toFacts), limit, ({ decidedAtUnixMs, id }) => ({ unixMs: decidedAtUnixMs, id }));
  }

  /** What the policies were asked; null where they were not. Errors: `key_unavailable` when its retention is over. */
  async request(decision: DecisionFacts): Promise<PolicyRequest | null> {
    if (!wasAsked(decision)) return null;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- sealed by `begin`, from one
    return (await this.#open(decision)) as PolicyRequest;
  }

  async #open({ id, tenant, sealedWith, request }: DecisionFacts): Promise<Sealed> {
    if (request === null || sealedWith === null) return {};
    const text = await this.#options.keys.open({ tenant, sealedWith, what: `decision ${id} request` }, request);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- sealed by this class, from one
    return JSON.parse(text) as Sealed;
  }

  /** What a session wanted that it was not granted. */
  async #wanted(decision: DecisionFacts): Promise<PolicyRequest | null> {
    const { principal, action, resource, context, entities } = await this.#open(decision);
    const isWhole = principal !== undefined && action !== undefined && resource !== undefined;
    if (!isWhole || context === undefined || entities === undefined) return null;
    return { principal, action, resource, context, entities };
  }

  async #policySet(tenant: TenantId, policyVersion: string): Promise<PolicySet> {
    const kept = await this.#options.store.policySet(tenant, policyVersion);
    if (kept === undefined) throw new BulkheadError('not_found', 'The policies of this decision are not kept.');
    return readPolicySet(kept.policies, kept.schema);
  }

  /** Asks the policies that it names again. Undefined where none were asked. Errors: `not_found`, `key_unavailable`. */
  async replay(decision: DecisionFacts): Promise<Replay | undefined> {
    const request = await this.request(decision);
    if (request === null || decision.policyVersion === null) return undefined;
    const set = await this.#policySet(decision.tenant, decision.policyVersion);
    const answer = this.#options.engine.decide(set, request);
    return { answer, context: request.context, same: isSame(decision, answer) };
  }

  /** The policies, their text and what they saw. Errors: `not_found`, `key_unavailable`. */
  async explain(decision: DecisionFacts): Promise<Explanation> {
    const { grant = null } = await this.#open(decision);
    const request = await this.request(decision);
    if (request === null || decision.policyVersion === null) {
      return { policies: [], grant, request: await this.#wanted(decision) };
    }
    const set = await this.#policySet(decision.tenant, decision.policyVersion);
    const named = set.policies.filter(({ id }) => decision.policies.includes(id));
    return { policies: named.map(({ id, source }) => ({ id, text: source })), grant, request };
  }

  /**
   * Asks the decisions of a page again: of `policies`, or of those that each names. Those that come out differently are told. Errors: `invalid_request` for a
   * cursor that is none.
   */
  async compare(
    tenant: TenantId,
    filter: { readonly session?: string; readonly sinceUnixMs?: number },
    page: PageRequest,
    policies?: PolicySet,
  ): Promise<Comparison> {
    const { items, nextCursor } = await this.list(tenant, filter, page);
    // Reading policies costs far more than asking them.
    const sets = new Map<string, Promise<PolicySet>>();
    const setOf = (version: string): Promise<PolicySet> => {
      const known = sets.get(version) ?? this.#policySet(tenant, version);
      sets.set(version, known);
      return known;
    };
    const changes: Change[] = [];
    let [compared, notAsked, unreadable] = [0, 0, 0];
    for (const decision of items) {
      // Asking takes the processor: whoever else is served has a turn in between.
      await setImmediate();
      try {
        const request = await this.request(decision);
        if (request === null || decision.policyVersion === null) {
          notAsked += 1;
          continue;
        }
        const after = this.#options.engine.decide(policies ?? (await setOf(decision.policyVersion)), request);
        compared += 1;
        if (!isSame(decision, after)) changes.push({ decision, after });
      } catch (error) {
        if (!BulkheadError.is(error, 'key_unavailable') && !BulkheadError.is(error, 'not_found')) throw error;
        unreadable += 1;
      }
    }
    return { compared, notAsked, unreadable, changes, nextCursor };
  }
}

function wasAsked({ policyVersion, reason }: DecisionFacts): boolean {
  return policyVersion !== null && reason !== 'grant' && reason !== 'subject';
}

function isSame(decision: DecisionFacts, answer: PolicyAnswer): boolean {
  return (
    answer.outcome === decision.outcome &&
    answer.reason === decision.reason &&
    answer.policies.join() === decision.policies.join()
  );
}

function toFacts(row: DecisionRow): DecisionFacts {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- rows are written by this class alone, from these
  return row as DecisionFacts;
}
