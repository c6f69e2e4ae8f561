// What requests to AWS, or to what speaks its language, are signed with. They are made on the host, for one session where the source can, and stay there.

import type { SessionId, TenantId } from '@bulkhead/protocol';

export interface AwsKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** Absent for keys that last. */
  readonly expiresAtUnixMs?: number;
}

/** Who keys are for, and what that one may do. */
export interface KeyHolder {
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly subject: string;
  /** Operations of the tool that asks. */
  readonly granted: readonly string[];
}

export interface AwsKeySource {
  /** Good for `validForMs` more at least, where the source can make them last so long. Errors: `tool_failed`, `cancelled`, those of secrets. */
  keysFor(holder: KeyHolder, validForMs: number, signal: AbortSignal): Promise<AwsKeys>;
  /** Drops what was made for the session. */
  forget(session: SessionId): void;
}

/** Keys of the installation's own, the same for every session of a tenant. The secret is looked up each time. */
export function staticKeys(accessKeyId: string, secretAccessKey: () => Promise<string>): AwsKeySource {
  return {
    keysFor: async () => ({ accessKeyId, secretAccessKey: await secretAccessKey() }),
    forget: () => undefined,
  };
}
