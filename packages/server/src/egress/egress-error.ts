// Why a connection that was allowed came to nothing, or to an end. The guest is told the kind of error (RFC 9209, `Proxy-Status`), the record the code.

import { BulkheadError, type ErrorCode } from '@bulkhead/protocol';

/** Each with the code that a record has, the status of a response and what it is called there. */
const kinds = {
  address: ['egress_blocked', 502, 'destination_ip_prohibited'],
  hello: ['egress_blocked', 502, 'tls_protocol_error'],
  target: ['egress_blocked', 400, 'http_request_error'],
  bytes: ['limit_exceeded', 403, 'http_request_denied'],
  time: ['tool_timeout', 504, 'connection_read_timeout'],
  lookup: ['tool_failed', 502, 'dns_error'],
  unreachable: ['tool_failed', 502, 'connection_refused'],
  connect_time: ['tool_timeout', 504, 'connection_timeout'],
  broken: ['tool_failed', 502, 'connection_terminated'],
  response: ['tool_failed', 502, 'http_protocol_error'],
  denied: ['tool_denied', 403, 'http_request_denied'],
  connections: ['too_many_connections', 503, 'connection_limit_reached'],
  internal: ['internal', 500, 'proxy_internal_error'],
} as const satisfies Readonly<Record<string, readonly [ErrorCode, number, string]>>;
type EgressErrorKind = keyof typeof kinds;

export function egressError(kind: EgressErrorKind, message: string, cause?: unknown): BulkheadError {
  return new BulkheadError(kinds[kind][0], message, { details: { kind }, ...(cause === undefined ? {} : { cause }) });
}

export interface ErrorResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a client in the guest gets in place of a response. */
export function errorResponse(error: unknown): ErrorResponse {
  const known = BulkheadError.is(error) ? error : egressError('internal', 'Bulkhead failed.');
  const [, status, name] = kinds[kindOf(known)];
  const decision = known.details?.['decision'];
  const headers = {
    'content-type': 'text/plain; charset=utf-8',
    'proxy-status': `bulkhead; error=${name}; details="${known.code}"`,
    connection: 'close',
    ...(typeof decision === 'string' ? { 'bulkhead-decision': decision } : {}),
  };
  const hint = typeof decision === 'string' ? ` (decision ${decision})` : '';
  return { status, headers, body: `${known.code}: ${known.message}${hint}\n` };
}

function kindOf({ code, details }: BulkheadError): EgressErrorKind {
  const kind = details?.['kind'];
  if (typeof kind === 'string' && Object.hasOwn(kinds, kind)) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is one of its own names
    return kind as EgressErrorKind;
  }
  return code === 'tool_denied' ? 'denied' : code === 'too_many_connections' ? 'connections' : 'internal';
}
