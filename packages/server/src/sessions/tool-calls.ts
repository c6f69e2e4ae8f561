// A call that a session makes to a tool, from its bytes to its answer, whether its code makes it or somebody outside who has the session: what the session is,
// as the host knows it; the decision; its record; a person's answer where a policy asks for one, after which all of it is decided anew; the tool; the
// record's end. A session that may not, a tool that is not there and a person who refused get the same answer.

import { isDeepStrictEqual } from 'node:util';
import {
  type ApprovalId,
  type ApprovalState,
  BulkheadError,
  type DecisionId,
  type ErrorJson,
  type SessionId,
  type TenantId,
  makeId,
} from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import { authorityLimits } from '../authority/authority-limits.ts';
import { type Decision, type Refusal, decide, findRefusal } from '../authority/decision-point.ts';
import { isGranted } from '../authority/grant.ts';
import type { PolicyEngine } from '../authority/policy-engine.ts';
import type { PolicySet } from '../authority/policy-set.ts';
import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer } from '../guest/guest-calls.ts';
import type { Guest } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import type { Tool, ToolResult } from '../tools/tool.ts';
import { CallFiles, FileBudget } from './call-files.ts';
import { errorJson } from './machine-error.ts';
import { sessionFacts } from './session-facts.ts';
import { type SessionRecord, isFinal } from './session-record.ts';
import type { AnswerOptions, ResultGuest, SessionCall, SessionTools } from './session-tools.ts';

/** What a tenant has set up, in one version. */
export interface TenantTools {
  readonly tenantName: string;
  readonly tools: ReadonlyMap<string, Tool>;
  readonly policies: PolicySet;
  /** None unless said. */
  readonly disabledSubjects?: ReadonlySet<string>;
}

export interface ToolSource {
  /** As it is now: what was changed before the call counts for it. Errors: `store_unavailable`. */
  of(tenant: TenantId): Promise<TenantTools>;
  /** The session has ended, or sleeps: what was made for it alone is dropped. */
  forget?(tenant: TenantId, session: SessionId): void;
}

export interface DecisionLog {
  /** Durable when it resolves. Nothing is done before. `approval`: what it waits for, or is carried out by. Errors: `store_unavailable`. */
  begin(session: SessionRecord, decision: Decision, approval?: ApprovalId): Promise<void>;
  refuse(session: SessionRecord, id: DecisionId, action: string, reason: Refusal): Promise<void>;
  /** What came of a call that was allowed; null when all went well. */
  end(session: SessionRecord, id: DecisionId, error: ErrorJson | null): Promise<void>;
}

/** Where persons are asked. */
export interface ApprovalDesk {
  /** False when too many wait already. Errors: `store_unavailable`. */
  ask(id: ApprovalId, session: SessionRecord, decision: Decision, checked: Arguments): Promise<boolean>;
  /** Resolves when it is answered, or too late. Aborting cancels it. */
  answerOf(tenant: TenantId, id: ApprovalId, signal: AbortSignal): Promise<ApprovalState>;
}

export interface ToolCallsOptions {
  readonly engine: PolicyEngine;
  readonly source: ToolSource;
  readonly log: DecisionLog;
  /** Without it, a call that a person has to approve is refused. */
  readonly approvals?: ApprovalDesk;
  readonly clock: Clock;
  /** Where this host is, as policies know it. */
  readonly region: string;
}

/** Where results that are no JSON are put, in the home of the guest's user. */
const resultFolder = 'tool-results';
const namePattern = /^[a-z][a-z0-9_]{0,62}$/;

export class ToolCalls implements SessionTools {
  readonly #options: ToolCallsOptions;
  readonly #hostFiles = new FileBudget();
  readonly #sessionFiles = new Map<SessionId, FileBudget>();

  constructor(options: ToolCallsOptions) {
    this.#options = options;
  }

  attach(session: () => SessionRecord, guest: Guest): void {
    if (session().grant.operations.length === 0) return;
    try {
      const { tenant, id } = session();
      this.#sessionFiles.set(id, new FileBudget(authorityLimits.sessionFilesMaxBytes));
      const calls = guest.serveCalls((call) => this.call(session, guest, call));
      const forget = (): void => {
        this.#sessionFiles.delete(id);
        this.#options.source.forget?.(tenant, id);
      };
      void guest.ended.then(forget);
      this.catalogue(session()).then(
        (tools) => calls.announce({ tools }),
        () => undefined,
      );
    } catch (error) {
      // It is answered already, or has ended: somebody else tells.
      if (!BulkheadError.is(error)) throw error;
    }
  }

  async catalogue({ tenant, grant }: SessionRecord): Promise<readonly ToolDescription[]> {
    const { tools } = await this.#options.source.of(tenant);
    return callable(tools).flatMap(({ description }) => {
      const operations = Object.entries(description.operations).filter(([name]) =>
        isGranted(grant, description.name, name),
      );
      return operations.length === 0 ? [] : [{ ...description, operations: Object.fromEntries(operations) }];
    });
  }

  async call(
    session: () => SessionRecord,
    guest: ResultGuest,
    call: SessionCall,
    options: AnswerOptions = {},
  ): Promise<CallAnswer> {
    const own = this.#sessionFiles.get(session().id) ?? new FileBudget(authorityLimits.sessionFilesMaxBytes);
    using files = new CallFiles(guest, call, [own, this.#hostFiles]);
    try {
      return await this.#carryOut(session, call, files, (decision, result) =>
        deliver(guest, decision, result, options),
      );
    } catch (error) {
      return { ok: false, error: errorJson(error) };
    }
  }

  async #carryOut(
    session: () => SessionRecord,
    call: SessionCall,
    files: CallFiles,
    deliverTo: Deliver,
  ): Promise<CallAnswer> {
    const first = await this.#decide(session(), call, files);
    if (first.decision.outcome !== 'ask') return await this.#perform(session(), call, first, files, deliverTo);
    const approval = await this.#approve(session(), call, first);
    // What was taken back while the call waited counts. What was approved are these arguments, on this resource, and nothing else.
    const again = await this.#decide(session(), call, files);
    const isWhatWasApproved = isDeepStrictEqual(boundOf(again), boundOf(first));
    return await this.#perform(session(), call, again, files, deliverTo, isWhatWasApproved ? approval : undefined);
  }

  /** As things are now. Errors: `tool_denied` where no policy is asked, those of arguments. */
  async #decide(session: SessionRecord, call: SessionCall, files: CallFiles): Promise<Decided> {
    if (isFinal(session)) throw new BulkheadError('session_ended', 'The session has ended.');
    const { engine, source } = this.#options;
    const known = await source.of(session.tenant);
    const tool = callable(known.tools).find(({ description: { name } }) => name === call.tool);
    const description = tool?.description.operations[call.operation];
    const facts = sessionFacts(session, known, this.#options);
    const refusal = findRefusal(facts, call.tool, call.operation);
    if (tool === undefined || description === undefined || refusal !== undefined) {
      return await this.#refuse(session, call, refusal ?? 'unknown');
    }
    const { decision, checked } = decide(engine, known.policies, facts, {
      tool: call.tool,
      operation: call.operation,
      description,
      argumentBytes: await files.argumentBytes(description.parameters),
      resourceOf: (parsed) => tool.resourceOf(call.operation, parsed),
    });
    return { decision, checked, tool };
  }

  /** The approval, when a person has given it. Errors: `tool_denied`, whatever came instead; `limit_exceeded`; `cancelled`. */
  async #approve(session: SessionRecord, call: SessionCall, { decision, checked }: Decided): Promise<ApprovalId> {
    const { log, approvals } = this.#options;
    if (approvals === undefined) {
      await log.begin(session, decision);
      throw denied(decision.id);
    }
    const { tenant } = session;
    const approval = makeId('approval');
    // Whoever is asked finds the decision that asks.
    await log.begin(session, decision, approval);
    if (!(await approvals.ask(approval, session, decision, checked))) {
      const error = new BulkheadError('limit_exceeded', 'Too many calls wait for a person already.', {
        details: { decision: decision.id },
      });
      await log.end(session, decision.id, error.toJSON());
      throw error;
    }
    const state = await approvals.answerOf(tenant, approval, call.signal);
    if (state === 'approved') return approval;
    if (state === 'cancelled') throw new BulkheadError('cancelled', 'The call is not waited for any more.');
    throw denied(decision.id);
  }

  async #perform(
    session: SessionRecord,
    call: SessionCall,
    { decision, checked, tool }: Decided,
    files: CallFiles,
    deliverTo: Deliver,
    approval?: ApprovalId,
  ): Promise<CallAnswer> {
    const { log } = this.#options;
    await log.begin(session, decision, approval);
    const allowed = decision.outcome === 'allow' || (decision.outcome === 'ask' && approval !== undefined);
    if (!allowed) throw denied(decision.id);
    const { tenant, id, subject } = session;
    try {
      const operations = Object.keys(tool.description.operations).filter((name) =>
        isGranted(session.grant, call.tool, name),
      );
      const context = { tenant, session: id, subject, signal: call.signal, granted: operations, files: files.files };
      const answer = await deliverTo(decision, await tool.call(call.operation, checked, context));
      await log.end(session, decision.id, null);
      return answer;
    } catch (error) {
      await log.end(session, decision.id, errorJson(error));
      throw error;
    }
  }

  async #refuse(session: SessionRecord, { tool, operation }: SessionCall, reason: Refusal): Promise<never> {
    const id = makeId('decision');
    // Names that no tool can have are not written down: they are the guest's own words.
    const named = namePattern.test(tool) && namePattern.test(operation);
    await this.#options.log.refuse(session, id, named ? `${tool}.${operation}` : '(no name)', reason);
    throw denied(id);
  }
}

/** What is decided, what about, and what would carry it out. */
interface Decided {
  readonly decision: Decision;
  readonly checked: Arguments;
  readonly tool: Tool;
}

type Deliver = (decision: Decision, result: ToolResult) => Promise<CallAnswer>;

/** What an approval is of. */
function boundOf({ decision: { action, resource, argumentsDigest } }: Decided): object {
  return { action, resource, argumentsDigest };
}

/** Rules of egress are not called. */
function callable(tools: TenantTools['tools']): readonly Tool[] {
  return [...tools.values()].filter(({ egress }) => egress === undefined);
}

export function denied(decision: DecisionId): BulkheadError {
  return new BulkheadError('tool_denied', 'The session may not do this.', {
    hint: 'An operator can look the decision up.',
    details: { decision },
  });
}

/** A result that is no JSON becomes a file in the guest, named by its decision: nothing of a guest is in its name. */
async function deliver(
  guest: ResultGuest,
  { id }: Decision,
  result: ToolResult,
  { valueMaxBytes }: AnswerOptions,
): Promise<CallAnswer> {
  const large = result.kind === 'value' ? asBytes(result.value, valueMaxBytes) : result;
  if (large === undefined) return { ok: true, value: result.kind === 'value' ? result.value : null };
  const { bytes, sizeBytes, contentType } = large;
  const file = `${resultFolder}/${id}`;
  await guest.mkdir(resultFolder);
  await guest.writeFile(file, bytes, sizeBytes);
  return { ok: true, file: `/home/user/${file}`, contentType, size: sizeBytes };
}

/** A value that is too large to be told, as what a file has. */
function asBytes(
  value: unknown,
  maxBytes = Number.POSITIVE_INFINITY,
): Extract<ToolResult, { kind: 'bytes' }> | undefined {
  if (maxBytes === Number.POSITIVE_INFINITY) return undefined;
  const bytes = Buffer.from(JSON.stringify(value) ?? 'null');
  if (bytes.length <= maxBytes) return undefined;
  const once = async function* once(): AsyncGenerator<Uint8Array, void, void> {
    yield bytes;
  };
  return { kind: 'bytes', bytes: once(), sizeBytes: bytes.length, contentType: 'application/json' };
}
