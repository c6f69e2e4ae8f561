// A call that a session makes to a tool, from its bytes to its answer, whether guest code makes it or somebody outside who has the session: what the session is, as the host knows it; the decision; its record; the tool;
// the record's end. A session that may not and a tool that is not there get the same answer.

import { BulkheadError, type DecisionId, type ErrorJson, type TenantId, makeId } from '@bulkhead/protocol';
import type { Decision, SessionFacts } from '../authority/decision-point.ts';
import { decide } from '../authority/decision-point.ts';
import { isGranted } from '../authority/grant.ts';
import type { PolicyEngine } from '../authority/policy-engine.ts';
import type { PolicySet } from '../authority/policy-set.ts';
import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer } from '../guest/guest-calls.ts';
import type { Guest } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import type { Tool, ToolResult } from '../tools/tool.ts';
import { errorJson } from './machine-error.ts';
import { type SessionRecord, isFinal } from './session-record.ts';
import type { AnswerOptions, ResultGuest, SessionCall, SessionTools } from './session-tools.ts';

/** What a tenant has set up, in one version. */
export interface TenantTools {
  readonly tenantName: string;
  readonly tools: ReadonlyMap<string, Tool>;
  readonly policies: PolicySet;
}

export interface ToolSource {
  /** As it is now: what was changed before the call counts for it. Errors: `store_unavailable`. */
  of(tenant: TenantId): Promise<TenantTools>;
}

/** Why a call that no policy was asked about was refused. */
export type Refusal = 'unknown' | 'grant';

export interface DecisionLog {
  /** Durable when it resolves. Nothing is done before. Errors: `store_unavailable`. */
  begin(session: SessionRecord, decision: Decision): Promise<void>;
  refuse(session: SessionRecord, id: DecisionId, action: string, reason: Refusal): Promise<void>;
  /** What came of a call that was allowed; null when all went well. */
  end(session: SessionRecord, id: DecisionId, error: ErrorJson | null): Promise<void>;
}

export interface ToolCallsOptions {
  readonly engine: PolicyEngine;
  readonly source: ToolSource;
  readonly log: DecisionLog;
  readonly clock: Clock;
  /** Where this host is, as policies know it. */
  readonly region: string;
}

/** Where results that are no JSON are put, in the home of the guest's user. */
const resultFolder = 'tool-results';
const namePattern = /^[a-z][a-z0-9_]{0,62}$/;

export class ToolCalls implements SessionTools {
  readonly #options: ToolCallsOptions;

  constructor(options: ToolCallsOptions) {
    this.#options = options;
  }

  attach(session: () => SessionRecord, guest: Guest): void {
    if (session().grant.operations.length === 0) return;
    try {
      const calls = guest.serveCalls((call) => this.call(session(), guest, call));
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
    return [...tools.values()].flatMap(({ description }) => {
      const operations = Object.entries(description.operations).filter(([name]) =>
        isGranted(grant, description.name, name),
      );
      return operations.length === 0 ? [] : [{ ...description, operations: Object.fromEntries(operations) }];
    });
  }

  async call(
    session: SessionRecord,
    guest: ResultGuest,
    call: SessionCall,
    options: AnswerOptions = {},
  ): Promise<CallAnswer> {
    try {
      if (isFinal(session)) throw new BulkheadError('session_ended', 'The session has ended.');
      return await this.#carryOut(session, call, (decision, result) => deliver(guest, decision, result, options));
    } catch (error) {
      return { ok: false, error: errorJson(error) };
    }
  }

  async #carryOut(
    session: SessionRecord,
    call: SessionCall,
    deliverTo: (decision: Decision, result: ToolResult) => Promise<CallAnswer>,
  ): Promise<CallAnswer> {
    const { engine, source, log } = this.#options;
    const { tools, policies, tenantName } = await source.of(session.tenant);
    const tool = tools.get(call.tool);
    const description = tool?.description.operations[call.operation];
    const granted = isGranted(session.grant, call.tool, call.operation);
    if (tool === undefined || description === undefined || !granted) {
      return await this.#refuse(session, call, granted ? 'unknown' : 'grant');
    }
    const { decision, checked } = decide(engine, policies, this.#facts(session, tenantName), {
      tool: call.tool,
      operation: call.operation,
      description,
      argumentBytes: call.argumentBytes,
      resourceOf: (parsed) => tool.resourceOf(call.operation, parsed),
    });
    await log.begin(session, decision);
    if (decision.outcome !== 'allow') throw denied(decision.id);
    const { tenant, id, subject } = session;
    try {
      const context = { tenant, session: id, subject, signal: call.signal };
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

  #facts(session: SessionRecord, tenantName: string): SessionFacts {
    const { id, tenant, subject, labels, tier, runtime, turnCount, parent, grant } = session;
    const { clock, region } = this.#options;
    const ageSeconds = Math.max(0, Math.floor((clock.unixMs() - session.createdAtUnixMs) / 1000));
    const known = { id, tenant, tenantName, subject, labels, tier, runtime, turnCount, grant, region, ageSeconds };
    return { ...known, isFork: parent !== null };
  }
}

function denied(decision: DecisionId): BulkheadError {
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
