// A tenant's policies in Cedar: read, held against the schema of its tools, and named, so that every decision can say which of them made it.

import { createHash } from 'node:crypto';
import {
  type ActionConstraint,
  type DetailedError,
  type TypeAndId,
  policySetTextToParts,
  policyToJson,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs';
import { BulkheadError } from '@bulkhead/protocol';
import { authorityLimits } from './authority-limits.ts';

export interface PolicyProblem {
  /** The policy's own `@id`, or its place: `policy3`. */
  readonly policy: string | null;
  readonly line: number | null;
  readonly message: string;
  readonly hint: string | null;
}

export interface PolicySetCheck {
  readonly problems: readonly PolicyProblem[];
  readonly warnings: readonly PolicyProblem[];
  readonly policies: readonly string[];
}

/** Every problem of a text of policies, or none. */
export function checkPolicies(text: string, schema: string): PolicySetCheck {
  if (Buffer.byteLength(text) > authorityLimits.policyTextMaxBytes) {
    return failed(`Policies have at most ${authorityLimits.policyTextMaxBytes} bytes.`);
  }
  const parts = policySetTextToParts(text);
  if (parts.type === 'failure')
    return { ...nothing, problems: parts.errors.map((error) => problem(null, error, text)) };
  if (parts.policy_templates.length > 0) return failed('Templates are not taken; write each policy out.');
  if (parts.policies.length > authorityLimits.policiesMaxCount) {
    return failed(`There are at most ${authorityLimits.policiesMaxCount} policies.`);
  }
  const named = namePolicies(parts.policies);
  if (named.problems.length > 0) return { ...nothing, problems: named.problems };
  const staticPolicies = Object.fromEntries(named.policies.map(({ id, source }) => [id, source]));
  const answer = validate({ schema, policies: { staticPolicies }, validationSettings: { mode: 'strict' } });
  if (answer.type === 'failure')
    return { ...nothing, problems: answer.errors.map((error) => problem(null, error, text)) };
  // Where a message is about one policy, its lines are those of that policy, which stands somewhere in the text.
  const at = (id: string, error: DetailedError): PolicyProblem => {
    const source = staticPolicies[id] ?? '';
    const found = problem(id, error, source);
    const linesBefore = text.slice(0, Math.max(0, text.indexOf(source))).split('\n').length - 1;
    return found.line === null ? found : { ...found, line: found.line + linesBefore };
  };
  return {
    problems: answer.validationErrors.map(({ policyId, error }) => at(policyId, error)),
    warnings: answer.validationWarnings.map(({ policyId, error }) => at(policyId, error)),
    policies: Object.keys(staticPolicies),
  };
}

const nothing: PolicySetCheck = { problems: [], warnings: [], policies: [] };

function failed(message: string): PolicySetCheck {
  return { ...nothing, problems: [{ policy: null, line: null, message, hint: null }] };
}

function problem(policy: string | null, error: DetailedError, source: string): PolicyProblem {
  const start = error.sourceLocations?.[0]?.start;
  // Cedar counts bytes.
  const line = start === undefined ? null : Buffer.from(source).subarray(0, start).toString().split('\n').length;
  return { policy, line, message: error.message, hint: error.help };
}

export interface NamedPolicy {
  readonly id: string;
  readonly source: string;
  /** It is annotated with `@approval("required")`, which Cedar itself does not know. */
  readonly needsApproval: boolean;
  /** The only actions that it can apply to, each as its type and id; null for any. */
  readonly actions: readonly string[] | null;
}

/** Each by its `@id`, or by its place; two of one name could not be told apart in a record. */
function namePolicies(sources: readonly string[]): {
  readonly policies: readonly NamedPolicy[];
  readonly problems: readonly PolicyProblem[];
} {
  const policies: NamedPolicy[] = [];
  const problems: PolicyProblem[] = [];
  const seen = new Set<string>();
  for (const [index, source] of sources.entries()) {
    const parsed = policyToJson(source);
    const annotations = parsed.type === 'success' ? (parsed.json.annotations ?? {}) : {};
    const effect = parsed.type === 'success' ? parsed.json.effect : 'forbid';
    const id = annotations['id'] ?? `policy${index}`;
    const approval = annotations['approval'];
    const refuse = (message: string): void => void problems.push({ policy: id, line: null, message, hint: null });
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(id))
      refuse('The id of a policy is 1 to 64 letters, digits, dots, dashes, underscores.');
    if (seen.has(id)) refuse('Two policies have this id.');
    if (approval !== undefined && (approval !== 'required' || effect !== 'permit')) {
      refuse('`@approval` takes "required", on a policy that permits.');
    }
    seen.add(id);
    const actions = parsed.type === 'success' ? actionsOf(parsed.json.action) : null;
    policies.push({ id, source, needsApproval: approval === 'required', actions });
  }
  return { policies, problems };
}

/** How an action is written in `NamedPolicy.actions`. */
export function actionKey({ type, id }: TypeAndId): string {
  return `${type}::${JSON.stringify(id)}`;
}

/** From the scope of a policy. Actions have no groups here: to be in one is to be it. */
function actionsOf(scope: ActionConstraint): readonly string[] | null {
  if (scope.op === 'All') return null;
  const entities = 'entities' in scope ? scope.entities : 'entity' in scope ? [scope.entity] : [];
  const named = entities.map((entity) => ('__entity' in entity ? entity.__entity : entity));
  return named.length === 0 ? null : named.map(actionKey);
}

/** Policies that were checked, in one version. */
export interface PolicySet {
  /** The digest of schema and text: what a record names, and a replay looks for. */
  readonly version: string;
  readonly schema: string;
  /** As it was written. */
  readonly text: string;
  readonly policies: readonly NamedPolicy[];
}

/** Errors: `invalid_request` with every problem in `details.problems`. */
export function readPolicySet(text: string, schema: string): PolicySet {
  const { problems } = checkPolicies(text, schema);
  if (problems.length > 0) {
    throw new BulkheadError('invalid_request', 'The policies are not valid.', {
      hint: '`bulkhead policy check` shows where.',
      details: { problems },
    });
  }
  const parts = policySetTextToParts(text);
  return {
    version: createHash('sha256').update(schema).update('\0').update(text).digest('hex'),
    schema,
    text,
    policies: parts.type === 'success' ? namePolicies(parts.policies).policies : [],
  };
}
