// What the proxy asks before it does anything: may this session connect there, now? Who answers knows the session, its grant and its policies.

import type { BulkheadError, EgressScheme } from '@bulkhead/protocol';
import type { Authority } from './host-name.ts';
import type { UpstreamBounds } from './upstream.ts';

export interface EgressTarget extends Authority {
  readonly scheme: EgressScheme;
  /** Of a request without TLS. */
  readonly method?: string;
}

/** A connection that was allowed and is on record as begun. */
export interface EgressPermit {
  readonly bounds: UpstreamBounds;
  /** Once, when it is over: what came of it. Never rejects. */
  end(error: BulkheadError | undefined): Promise<void>;
}

export interface EgressGate {
  /**
   * On record either way when it settles. Undefined: the guest named what cannot be a target. Errors: `tool_denied` with the decision,
   * `too_many_connections`, `store_unavailable`, `session_ended`.
   */
  admit(target: EgressTarget | undefined): Promise<EgressPermit>;
}
