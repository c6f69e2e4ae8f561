// What goes wrong between us and the database, in words that do not quote a row.

import { BulkheadError } from '@bulkhead/protocol';

export function storeUnavailable(what: string, hint: string, cause?: unknown): BulkheadError {
  return new BulkheadError('store_unavailable', what, { hint, ...(cause === undefined ? {} : { cause }) });
}

/** SQLSTATE classes: connection, insufficient resources, operator intervention, system error. */
const awayClasses = new Set(['08', '53', '57', '58']);
const awayErrnos = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN']);

/** A failed query as one of ours: `store_unavailable` when trying again may help, `internal` when it is our mistake. */
export function queryError(error: unknown): BulkheadError {
  if (BulkheadError.is(error)) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const broken = error instanceof Error && /^(?:Connection terminated|timeout exceeded|Client has)/.test(error.message);
  if (broken || awayErrnos.has(code) || awayClasses.has(code.slice(0, 2))) {
    return storeUnavailable('The database does not answer.', 'Try again in a moment; look at its log.', error);
  }
  return new BulkheadError('internal', 'The database refused a query.', { cause: error });
}
