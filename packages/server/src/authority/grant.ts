// What one session may use at all, stated when it is created: operations by name. Policies are asked only about what is in it. A grant is never more
// than its parent's: a fork that asks for more is refused.

import { BulkheadError, limits } from '@bulkhead/protocol';

export interface Grant {
  /** `tool.operation`, or `tool.*`. Nothing stands for nothing. */
  readonly operations: readonly string[];
}

export const noGrant: Grant = { operations: [] };

const entryPattern = /^[a-z][a-z0-9_]{0,62}\.(?:\*|[a-z][a-z0-9_]{0,62})$/;

/** Sorted, without repetition. Errors: `invalid_request`. */
export function checkGrant(operations: readonly string[]): Grant {
  if (operations.length > limits.grantEntriesMaxCount) {
    throw refuse(`A grant has at most ${limits.grantEntriesMaxCount} entries.`);
  }
  const wrong = operations.find((entry) => !entryPattern.test(entry));
  if (wrong !== undefined)
    throw refuse(`${JSON.stringify(wrong.slice(0, 130))} is not \`tool.operation\` or \`tool.*\`.`);
  return { operations: [...new Set(operations)].toSorted() };
}

export function isGranted({ operations }: Grant, tool: string, operation: string): boolean {
  return operations.includes(`${tool}.${operation}`) || operations.includes(`${tool}.*`);
}

/** What a fork gets: its parent's, or the part of it that was asked for. Errors: `forbidden` for more. */
export function narrowGrant(parent: Grant, asked: readonly string[] | undefined): Grant {
  if (asked === undefined) return parent;
  const grant = checkGrant(asked);
  const beyond = grant.operations.find((entry) => !isCovered(parent, entry));
  if (beyond === undefined) return grant;
  throw new BulkheadError('forbidden', `The session that is forked may not use ${beyond} itself.`, {
    hint: 'Ask for no more than its own grant has.',
    details: { entry: beyond },
  });
}

function isCovered({ operations }: Grant, entry: string): boolean {
  return operations.includes(entry) || operations.includes(`${entry.slice(0, entry.indexOf('.'))}.*`);
}

function refuse(message: string): BulkheadError {
  return new BulkheadError('invalid_request', message, { details: { field: 'grant' } });
}
