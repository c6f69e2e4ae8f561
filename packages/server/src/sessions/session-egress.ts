// The network, for sessions that were granted some of it. A connection is a call of the operation `connect` of a rule: decided by the same policies, on the
// same record, which also has what it carried. A session whose grant has no rule gets no proxy.

import { BulkheadError, type DecisionId, type EgressSettings, type ErrorJson, makeId } from '@bulkhead/protocol';
import { type Decision, decide } from '../authority/decision-point.ts';
import { isGranted, noGrant } from '../authority/grant.ts';
import { actionName } from '../authority/tool-description.ts';
import { AddressRule } from '../lib/address-rule.ts';
import { EgressProxy } from '../egress/egress-proxy.ts';
import type { EgressPermit, EgressTarget } from '../egress/gate.ts';
import { isCovered } from '../egress/host-name.ts';
import type { Resolver } from '../egress/resolver.ts';
import type { Guest } from '../guest/guest.ts';
import { connectOperation } from '../tools/egress/egress-tool.ts';
import type { Tool } from '../tools/tool.ts';
import { type ConnectionUse, EgressUse, type Transferred } from './egress-use.ts';
import { errorJson } from './machine-error.ts';
import { sessionFacts } from './session-facts.ts';
import { type SessionRecord, isFinal } from './session-record.ts';
import type { Attachable } from './session-tools.ts';
import { type DecisionLog, type TenantTools, type ToolCallsOptions, denied } from './tool-calls.ts';

export interface EgressLog extends DecisionLog {
  /** With what the connection carried. */
  end(session: SessionRecord, id: DecisionId, error: ErrorJson | null, transferred?: Transferred): Promise<void>;
  /** All that connections of this session have carried by an action, those that have ended. Errors: `store_unavailable`. */
  transferred(session: SessionRecord, action: string): Promise<number>;
}

export interface SessionEgressOptions extends Omit<ToolCallsOptions, 'log' | 'approvals'> {
  readonly log: EgressLog;
  readonly resolver: Resolver;
}

interface Rule {
  readonly tool: Tool;
  readonly settings: EgressSettings;
}

/** What is on record where there is no rule to name. */
const noAction = '(egress)';
const defaultPorts = { https: 443, http: 80 } as const;
const defaultMethods: readonly string[] = ['GET', 'HEAD'];

export class SessionEgress implements Attachable {
  readonly #options: SessionEgressOptions;
  readonly #use: EgressUse;

  constructor(options: SessionEgressOptions) {
    this.#options = options;
    this.#use = new EgressUse((session, action) => options.log.transferred(session, action));
  }

  async attach(session: () => SessionRecord, guest: Guest): Promise<void> {
    if (session().grant.operations.length === 0) return;
    try {
      if (grantedRules(session(), await this.#options.source.of(session().tenant)).length === 0) return;
      const { resolver, clock } = this.#options;
      const proxy = new EgressProxy({ gate: { admit: (target) => this.#admit(session(), target) }, resolver, clock });
      guest.serveEgress((connection) => proxy.serve(connection));
    } catch (error) {
      // It has a way out already, or has ended, or nothing can be known of its tenant: then there is none.
      if (!BulkheadError.is(error)) throw error;
    }
  }

  async #admit(session: SessionRecord, target: EgressTarget | undefined): Promise<EgressPermit> {
    if (isFinal(session)) throw new BulkheadError('session_ended', 'The session has ended.');
    const { log, source } = this.#options;
    const tenant = await source.of(session.tenant);
    const rules = grantedRules(session, tenant);
    const [first] = rules;
    if (target === undefined || first === undefined) {
      const id = makeId('decision');
      const action = first === undefined ? noAction : actionOf(first);
      const isDisabled = sessionFacts(session, tenant, this.#options).subjectDisabled === true;
      await log.refuse(session, id, action, isDisabled ? 'subject' : target === undefined ? 'unknown' : 'grant');
      throw denied(id);
    }
    const covering = rules.filter(({ settings }) => covers(settings, target));
    // The first rule whose policies allow it; where none does, the first has said no. What no rule covers was not granted.
    const decided =
      covering.length === 0
        ? [{ rule: first, decision: this.#decide({ ...session, grant: noGrant }, tenant, first, target) }]
        : covering.map((rule) => ({ rule, decision: this.#decide(session, tenant, rule, target) }));
    const chosen = decided.find(({ decision }) => decision.outcome === 'allow') ?? decided[0];
    if (chosen === undefined) throw new BulkheadError('internal', 'Nothing was decided.');
    const { rule, decision } = chosen;
    await log.begin(session, decision);
    if (decision.outcome !== 'allow') throw denied(decision.id);
    return await this.#begin(session, rule, decision);
  }

  #decide(session: SessionRecord, known: TenantTools, { tool }: Rule, target: EgressTarget): Decision {
    const description = tool.description.operations[connectOperation];
    if (description === undefined) throw new BulkheadError('internal', 'A rule has no operation.');
    return decide(this.#options.engine, known.policies, sessionFacts(session, known, this.#options), {
      tool: tool.description.name,
      operation: connectOperation,
      description,
      argumentBytes: Buffer.from(JSON.stringify(target)),
      resourceOf: (checked) => tool.resourceOf(connectOperation, checked),
    }).decision;
  }

  async #begin(session: SessionRecord, rule: Rule, { id }: Decision): Promise<EgressPermit> {
    const { log } = this.#options;
    const { addresses, idleMs, connectionMs } = rule.settings;
    try {
      const use = await this.#use.begin(session, actionOf(rule), rule.settings);
      const bounds = { addresses: new AddressRule(addresses), idleMs, connectionMs, count: use.count };
      return { bounds, end: (error) => this.#end(session, id, use, error) };
    } catch (error) {
      await log.end(session, id, errorJson(error));
      throw error;
    }
  }

  async #end(
    session: SessionRecord,
    id: DecisionId,
    use: ConnectionUse,
    error: BulkheadError | undefined,
  ): Promise<void> {
    let kept = true;
    try {
      await this.#options.log.end(session, id, error === undefined ? null : errorJson(error), use.transferred);
    } catch {
      // Its record shows a beginning without an end; what it carried is not forgotten here.
      kept = false;
    }
    use.end(kept);
  }
}

/** In the order of their names. */
function grantedRules({ grant }: SessionRecord, { tools }: TenantTools): readonly Rule[] {
  return [...tools]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, tool]) => {
      const settings = tool.egress;
      return settings !== undefined && isGranted(grant, name, connectOperation) ? [{ tool, settings }] : [];
    });
}

function actionOf({ tool }: Rule): string {
  return actionName(tool.description.name, connectOperation);
}

function covers({ scheme, port, hosts, methods }: EgressSettings, target: EgressTarget): boolean {
  if (target.scheme !== scheme || target.port !== (port ?? defaultPorts[scheme])) return false;
  if (scheme === 'http' && !(methods ?? defaultMethods).includes(target.method ?? '')) return false;
  return isCovered(target.host, hosts);
}
