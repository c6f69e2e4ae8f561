// What an object store says when something is wrong, as far as guests are told. Its messages name keys, roles, accounts and hosts: they stay on the host.

import { BulkheadError } from '@bulkhead/protocol';

const told: Readonly<Record<string, string>> = {
  NoSuchKey: 'There is no such object.',
  NotFound: 'There is no such object.',
  AccessDenied: 'The object store does not allow it.',
  Forbidden: 'The object store does not allow it.',
  PreconditionFailed: 'There is such an object already.',
  InvalidObjectState: 'The object is archived.',
  SlowDown: 'The object store asks to slow down.',
};

/** `stopped`: what ended the call from our side, if something did. */
export function s3Error(error: unknown, stopped: BulkheadError | undefined): BulkheadError {
  if (stopped !== undefined) return stopped;
  if (BulkheadError.is(error)) return error;
  const name: unknown = Reflect.get(Object(error), 'name');
  const known = typeof name === 'string' && Object.hasOwn(told, name) ? told[name] : undefined;
  return new BulkheadError('tool_failed', known ?? 'The object store cannot be reached, or failed.', {
    ...(known === undefined ? {} : { details: { reason: String(name) } }),
    cause: error,
  });
}
