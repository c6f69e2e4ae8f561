// Asks a tenant's policies. Nothing is allowed but by a policy that permits it; one that forbids wins; and a policy that cannot be evaluated for
// a request denies it: Cedar by itself passes over a `forbid` that fails.

import { randomUUID } from 'node:crypto';
import {
  type AuthorizationAnswer,
  type CheckParseAnswer,
  type Context,
  type EntityJson,
  type EntityUidJson,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
} from '@cedar-policy/cedar-wasm/nodejs';
import { BulkheadError } from '@bulkhead/protocol';
import { authorityLimits } from './authority-limits.ts';
import { type PolicySet, actionKey } from './policy-set.ts';

export interface PolicyRequest {
  readonly principal: EntityUidJson;
  readonly action: EntityUidJson;
  readonly resource: EntityUidJson;
  readonly context: Context;
  readonly entities: readonly EntityJson[];
}

export interface PolicyAnswer {
  /** `ask`: a person has to approve. */
  readonly outcome: 'allow' | 'deny' | 'ask';
  readonly reason: 'policy' | 'no_policy' | 'policy_error';
  /** The policies that determined it; with `policy_error`, those that could not be evaluated. */
  readonly policies: readonly string[];
}

export class PolicyEngine {
  readonly #schemas = new Slots(authorityLimits.policySetsMaxCount);
  readonly #policies = new Slots(authorityLimits.policySlicesMaxCount);

  decide(set: PolicySet, { principal, action, resource, context, entities }: PolicyRequest): PolicyAnswer {
    const answer = statefulIsAuthorized({
      principal,
      action,
      resource,
      context,
      entities: [...entities],
      preparsedSchemaName: this.#schemas.take(set.version, (slot) => preparseSchema(slot, set.schema)),
      preparsedPolicySetId: this.#slice(set, action),
      validateRequest: true,
    });
    return judge(set, answer);
  }

  /** What is asked costs by the policy, so those that are about other actions are left out: by their scope they cannot apply, nor fail. */
  #slice(set: PolicySet, action: EntityUidJson): string {
    const key = actionKey('__entity' in action ? action.__entity : action);
    const relevant = set.policies.filter(({ actions }) => actions === null || actions.includes(key));
    const name = relevant.length === set.policies.length ? set.version : `${set.version} ${key}`;
    return this.#policies.take(name, (slot) => {
      const staticPolicies = Object.fromEntries(relevant.map(({ id, source }) => [id, source]));
      return preparsePolicySet(slot, { staticPolicies });
    });
  }
}

/** Cedar keeps what it has read under a name, and for good: names are used again, that of what was unused for longest first. */
class Slots {
  readonly #maxCount: number;
  readonly #slots = new Map<string, string>();
  readonly #prefix = randomUUID();

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  /** Errors: `internal` for what was checked and cannot be read. */
  take(name: string, fill: (slot: string) => CheckParseAnswer): string {
    const known = this.#slots.get(name);
    this.#slots.delete(name);
    const slot = known ?? this.#free();
    if (known === undefined && fill(slot).type === 'failure') {
      throw new BulkheadError('internal', 'Policies that were checked cannot be read.');
    }
    this.#slots.set(name, slot);
    return slot;
  }

  #free(): string {
    const oldest = this.#slots.entries().next().value;
    if (oldest === undefined || this.#slots.size < this.#maxCount) return `${this.#prefix}:${this.#slots.size}`;
    this.#slots.delete(oldest[0]);
    return oldest[1];
  }
}

function judge({ policies: known }: PolicySet, answer: AuthorizationAnswer): PolicyAnswer {
  if (answer.type === 'failure') return { outcome: 'deny', reason: 'policy_error', policies: [] };
  const { decision, diagnostics } = answer.response;
  if (diagnostics.errors.length > 0) {
    return { outcome: 'deny', reason: 'policy_error', policies: diagnostics.errors.map(({ policyId }) => policyId) };
  }
  const policies = diagnostics.reason.toSorted();
  if (decision === 'deny') return { outcome: 'deny', reason: policies.length === 0 ? 'no_policy' : 'policy', policies };
  // One policy that permits without a person is enough: to permit is to add, as everywhere in Cedar.
  const asks = policies.every((id) => known.find((policy) => policy.id === id)?.needsApproval === true);
  return { outcome: asks ? 'ask' : 'allow', reason: 'policy', policies };
}
