// A call that guest code makes to a tool, from its bytes to its answer: what the session is, as the host knows it; the decision; its record; the tool;
// the record's end. A session that may not and a tool that is not there get the same answer.

import {
  BulkheadError,
  type DecisionId,
  type ErrorJson,
  type SessionId,
  type TenantId,
  makeId,
} from '@bulkhead/protocol';
import { authorityLimits } from '../authority/authority-limits.ts';
import type { Decision, SessionFacts } from '../authority/decision-point.ts';
import { decide } from '../authority/decision-point.ts';
import { isGranted } from '../authority/grant.ts';
import type { PolicyEngine } from '../authority/policy-engine.ts';
import type { PolicySet } from '../authority/policy-set.ts';
import type { ToolDescription } from '../authority/tool-description.ts';
import type { CallAnswer, GuestCall } from '../guest/guest-calls.ts';
import type { Guest } from '../guest/guest.ts';
import type { Clock } from '../lib/clock.ts';
import type { Tool, ToolResult } from '../tools/tool.ts';
import { CallFiles, FileBudget } from './call-files.ts';
import { errorJson } from './machine-error.ts';
import { type SessionRecord, isFinal } from './session-record.ts';
import type { SessionTools } from './session-tools.ts';

/** What a tenant has set up, in one version. */
export interface TenantTools {
  readonly tenantName: string;
  readonly tools: ReadonlyMap<string, Tool>;
  readonly policies: PolicySet;
}

export interface ToolSource {
  /** As it is now: what was changed before the call counts for it. Errors: `store_unavailable`. */
  of(tenant: TenantId): Promise<TenantTools>;
  /** The session has ended, or sleeps: what was made for it alone is dropped. */
  forget?(tenant: TenantId, session: SessionId): void;
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
  readonly #hostFiles = new FileBudget();

  constructor(options: ToolCallsOptions) {
    this.#options = options;
  }

  attach(session: () => SessionRecord, guest: Guest): void {
    if (session().grant.operations.length === 0) return;
    try {
      const files = [new FileBudget(authorityLimits.sessionFilesMaxBytes), this.#hostFiles];
      const calls = guest.serveCalls((call) => this.#answer(session(), guest, call, files));
      const { tenant, id } = session();
      void guest.ended.then(() => this.#options.source.forget?.(tenant, id));
      this.#catalogue(session()).then(
        (tools) => calls.announce({ tools }),
        () => undefined,
      );
    } catch (error) {
      // It is answered already, or has ended: somebody else tells.
      if (!BulkheadError.is(error)) throw error;
    }
  }

  /** What the session was granted of what there is. A policy may still say no. */
  async #catalogue({ tenant, grant }: SessionRecord): Promise<readonly ToolDescription[]> {
    const { tools } = await this.#options.source.of(tenant);
    return [...tools.values()].flatMap(({ description }) => {
      const operations = Object.entries(description.operations).filter(([name]) =>
        isGranted(grant, description.name, name),
      );
      return operations.length === 0 ? [] : [{ ...description, operations: Object.fromEntries(operations) }];
    });
  }

  async #answer(
    session: SessionRecord,
    guest: Guest,
    call: GuestCall,
    budgets: readonly FileBudget[],
  ): Promise<CallAnswer> {
    using files = new CallFiles(guest, call, budgets);
    try {
      if (isFinal(session)) throw new BulkheadError('session_ended', 'The session has ended.');
      return await this.#carryOut(session, guest, call, files);
    } catch (error) {
      return { ok: false, error: errorJson(error) };
    }
  }

  async #carryOut(session: SessionRecord, guest: Guest, call: GuestCall, files: CallFiles): Promise<CallAnswer> {
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
      argumentBytes: await files.argumentBytes(description.parameters),
      resourceOf: (parsed) => tool.resourceOf(call.operation, parsed),
    });
    await log.begin(session, decision);
    if (decision.outcome !== 'allow') throw denied(decision.id);
    const { tenant, id, subject } = session;
    try {
      const operations = Object.keys(tool.description.operations).filter((name) =>
        isGranted(session.grant, call.tool, name),
      );
      const context = { tenant, session: id, subject, signal: call.signal, granted: operations, files: files.files };
      const answer = await deliver(guest, decision, await tool.call(call.operation, checked, context));
      await log.end(session, decision.id, null);
      return answer;
    } catch (error) {
      await log.end(session, decision.id, errorJson(error));
      throw error;
    }
  }

  async #refuse(session: SessionRecord, { tool, operation }: GuestCall, reason: Refusal): Promise<never> {
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
async function deliver(guest: Guest, { id }: Decision, result: ToolResult): Promise<CallAnswer> {
  if (result.kind === 'value') return { ok: true, value: result.value };
  const { bytes, sizeBytes, contentType } = result;
  const file = `${resultFolder}/${id}`;
  await guest.mkdir(resultFolder);
  await guest.writeFile(file, bytes, sizeBytes);
  return { ok: true, file: `/home/user/${file}`, contentType, size: sizeBytes };
}
