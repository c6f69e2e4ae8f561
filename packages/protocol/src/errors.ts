// The one catalogue of errors. A code is a promise: it never changes meaning, and docs/errors.md is tested against it.

export type RetryRule = 'never' | 'same_key' | 'after';

export interface ErrorEntry {
  readonly status: number;
  readonly retry: RetryRule;
  readonly title: string;
  /** The exit code of the `bulkhead` command when it ends with this error. */
  readonly exitCode: number;
}

export const errorCatalogue = {
  invalid_request: { status: 400, retry: 'never', title: 'The request is not valid', exitCode: 2 },
  config_invalid: { status: 500, retry: 'never', title: 'The configuration is not valid', exitCode: 2 },
  not_found: { status: 404, retry: 'never', title: 'There is no such resource', exitCode: 2 },
  unauthenticated: { status: 401, retry: 'never', title: 'The caller is not known', exitCode: 83 },
  forbidden: { status: 403, retry: 'never', title: 'The caller may not do this', exitCode: 84 },
  method_not_allowed: { status: 405, retry: 'never', title: 'This resource does not take that method', exitCode: 2 },
  length_required: { status: 411, retry: 'never', title: 'The length of the content has to be stated', exitCode: 2 },
  precondition_failed: {
    status: 412,
    retry: 'never',
    title: 'The resource has changed since it was read',
    exitCode: 3,
  },
  unsupported_media_type: {
    status: 415,
    retry: 'never',
    title: 'The content has a type that is not taken here',
    exitCode: 2,
  },
  idempotency_conflict: {
    status: 409,
    retry: 'never',
    title: 'The idempotency key was used for another request',
    exitCode: 3,
  },
  rate_limited: { status: 429, retry: 'after', title: 'Too many requests', exitCode: 85 },
  quota_exceeded: { status: 429, retry: 'after', title: 'A quota of the tenant is used up', exitCode: 86 },
  server_stopping: { status: 503, retry: 'after', title: 'The server is stopping', exitCode: 87 },
  server_unreachable: { status: 503, retry: 'same_key', title: 'The server does not answer', exitCode: 88 },
  host_unavailable: {
    status: 503,
    retry: 'after',
    title: 'The host that has the session does not answer',
    exitCode: 89,
  },
  state_conflict: {
    status: 409,
    retry: 'never',
    title: 'The resource is not in a state that allows this',
    exitCode: 3,
  },
  limit_exceeded: { status: 413, retry: 'never', title: 'A limit was exceeded', exitCode: 3 },
  unsupported: { status: 501, retry: 'never', title: 'This runtime cannot do that', exitCode: 3 },
  cancelled: { status: 499, retry: 'never', title: 'The caller gave up', exitCode: 130 },
  turn_failed: { status: 200, retry: 'never', title: 'The code raised an error', exitCode: 1 },
  turn_timeout: { status: 408, retry: 'never', title: 'The turn took longer than its limit', exitCode: 124 },
  turn_interrupted: { status: 409, retry: 'never', title: 'The turn was interrupted', exitCode: 130 },
  context_died: { status: 409, retry: 'never', title: 'The interpreter ended during the turn', exitCode: 70 },
  file_error: { status: 409, retry: 'never', title: 'A file operation in the guest failed', exitCode: 4 },
  upload_incomplete: { status: 400, retry: 'same_key', title: 'The upload ended before its last byte', exitCode: 4 },
  port_unreachable: {
    status: 502,
    retry: 'after',
    title: 'No server in the session answers on that port',
    exitCode: 90,
  },
  too_many_connections: { status: 503, retry: 'after', title: 'Too many connections are open', exitCode: 91 },
  session_ended: { status: 410, retry: 'never', title: 'The session has ended', exitCode: 5 },
  machine_lost: { status: 502, retry: 'never', title: 'The machine ended unexpectedly', exitCode: 71 },
  guest_protocol_violation: {
    status: 502,
    retry: 'never',
    title: 'The machine broke the channel protocol and was destroyed',
    exitCode: 72,
  },
  guest_unresponsive: {
    status: 504,
    retry: 'never',
    title: 'The machine stopped answering and was destroyed',
    exitCode: 73,
  },
  tool_denied: { status: 403, retry: 'never', title: 'The session may not do this with the tool', exitCode: 6 },
  tool_failed: { status: 502, retry: 'never', title: 'What is behind the tool refused or failed', exitCode: 6 },
  tool_timeout: { status: 504, retry: 'never', title: 'The tool took longer than its limit', exitCode: 6 },
  egress_blocked: { status: 502, retry: 'never', title: 'A connection is not what was allowed', exitCode: 6 },
  launch_failed: { status: 503, retry: 'after', title: 'The machine could not be launched', exitCode: 74 },
  launch_timeout: { status: 504, retry: 'after', title: 'The machine did not start in time', exitCode: 74 },
  capacity_exhausted: { status: 503, retry: 'after', title: 'This host has no room for another machine', exitCode: 75 },
  host_unsupported: { status: 503, retry: 'never', title: 'This host lacks something that is needed', exitCode: 69 },
  tier_unavailable: {
    status: 409,
    retry: 'never',
    title: 'No machine here is isolated as strongly as is required',
    exitCode: 69,
  },
  image_build_failed: { status: 503, retry: 'after', title: 'The guest image could not be built', exitCode: 76 },
  image_missing: { status: 503, retry: 'never', title: 'There is no such guest image on this host', exitCode: 76 },
  template_failed: { status: 503, retry: 'after', title: 'The template could not be made', exitCode: 77 },
  snapshot_invalid: { status: 500, retry: 'never', title: 'The snapshot is damaged or not this one', exitCode: 79 },
  snapshot_incompatible: {
    status: 409,
    retry: 'never',
    title: 'The snapshot was made by something that is not here',
    exitCode: 79,
  },
  key_unavailable: { status: 503, retry: 'after', title: 'A key is missing or does not fit', exitCode: 80 },
  store_unavailable: { status: 503, retry: 'after', title: 'The store does not answer', exitCode: 81 },
  data_dir_busy: { status: 409, retry: 'after', title: 'Another process works with this data directory', exitCode: 82 },
  disk_full: { status: 507, retry: 'after', title: 'The host has no space left', exitCode: 78 },
  internal: { status: 500, retry: 'after', title: 'Bulkhead failed', exitCode: 70 },
} as const;

export type ErrorCode = keyof typeof errorCatalogue;

/** What the catalogue says of a code. */
export function errorEntry(code: ErrorCode): ErrorEntry {
  return errorCatalogue[code];
}

export interface ErrorJson {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface BulkheadErrorOptions {
  /** What the caller can do next. */
  readonly hint?: string;
  /** Facts for programs; only what the caller may see. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** What happened on the host; never serialised. */
  readonly cause?: unknown;
  /** Of the request that a server refused, for whoever looks into its log. */
  readonly requestId?: string;
}

/** The only error class that crosses a public edge. `cause` stays on the host: `toJSON` leaves it out. */
export class BulkheadError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, message: string, options: BulkheadErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'BulkheadError';
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
    this.requestId = options.requestId;
  }

  toJSON(): ErrorJson {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }

  static is(error: unknown, code?: ErrorCode): error is BulkheadError {
    return error instanceof BulkheadError && (code === undefined || error.code === code);
  }
}
