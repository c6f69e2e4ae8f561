// Asks a tenant's policies. Nothing is allowed but by a policy that permits it; one that forbids wins; and a policy that cannot be evaluated for
// a request denies it: Cedar by itself passes over a `forbid` that fails.

import { randomUUID } from 'node:crypto';
import {
  type AuthorizationAnswer,
  type Context,
  type EntityJson,
  type EntityUidJson,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
} from '@cedar-policy/cedar-wasm/nodejs';
import { BulkheadError } from '@bulkhead/protocol';
import { authorityLimits } from './authority-limits.ts';
import type { PolicySet } from './policy-set.ts';

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
  /** Cedar keeps what it has read under a name, and for good: names are used again, that of the set unused for longest first. */
  readonly #slots = new Map<string, string>();
  readonly #prefix = randomUUID();

  decide(set: PolicySet, { principal, action, resource, context, entities }: PolicyRequest): PolicyAnswer {
    const slot = this.#slotOf(set);
    const answer = statefulIsAuthorized({
      principal,
      action,
      resource,
      context,
      entities: [...entities],
      preparsedSchemaName: slot,
      preparsedPolicySetId: slot,
      validateRequest: true,
    });
    return judge(set, answer);
  }

  #slotOf(set: PolicySet): string {
    const known = this.#slots.get(set.version);
    this.#slots.delete(set.version);
    const slot = known ?? this.#freeSlot();
    if (known === undefined) fill(slot, set);
    this.#slots.set(set.version, slot);
    return slot;
  }

  #freeSlot(): string {
    const oldest = this.#slots.entries().next().value;
    if (oldest === undefined || this.#slots.size < authorityLimits.policySetsMaxCount) {
      return `${this.#prefix}:${this.#slots.size}`;
    }
    this.#slots.delete(oldest[0]);
    return oldest[1];
  }
}

function fill(slot: string, { schema, policies }: PolicySet): void {
  const staticPolicies = Object.fromEntries(policies.map(({ id, source }) => [id, source]));
  for (const answer of [preparseSchema(slot, schema), preparsePolicySet(slot, { staticPolicies })]) {
    if (answer.type === 'failure') throw new BulkheadError('internal', 'Policies that were checked cannot be read.');
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
