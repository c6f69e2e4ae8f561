// What a tool is to those who call it. A tool runs on the host; it is given arguments that were checked and decided on, and nothing else that a guest
// has said. What it answers is bounded here, whatever is at the other end.

import type { EgressSettings, SessionId, TenantId } from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import type { Resource, ToolDescription } from '../authority/tool-description.ts';
import type { Resolve } from '../lib/network-addresses.ts';

/** What a tool is opened with: where its secrets come from, each time that it needs one. */
export interface ToolSurroundings {
  readonly secret: (name: string) => Promise<string>;
  /** How names become addresses; the system's way unless said. */
  readonly resolve?: Resolve | undefined;
}

export interface ToolContext {
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly subject: string;
  readonly signal: AbortSignal;
  /** The operations of this tool that the session was granted; of the one that is called alone unless said. */
  readonly granted?: readonly string[];
  /** Of arguments of kind `file`: the bytes whose digest and size are among the arguments. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
}

/** A value as JSON, or bytes that are too many or too binary for it. */
export type ToolResult =
  | { readonly kind: 'value'; readonly value: unknown }
  | {
      readonly kind: 'bytes';
      readonly bytes: AsyncIterable<Uint8Array>;
      readonly sizeBytes: number;
      readonly contentType: string;
    };

export interface Tool extends AsyncDisposable {
  readonly description: ToolDescription;
  /** A rule of where sessions may connect to: used through their proxy, and never called. */
  readonly egress?: EgressSettings;
  /** What a call works on, from nothing but its arguments. */
  resourceOf(operation: string, checked: Arguments): Resource;
  /**
   * Carries out what was decided. Errors: `tool_failed` with what the other end said, cut to size; `tool_timeout`; `limit_exceeded` for a result that is
   * too large; `cancelled`.
   */
  call(operation: string, checked: Arguments, context: ToolContext): Promise<ToolResult>;
  /** The session has ended, or sleeps: what was made for it alone is dropped. */
  forget?(session: SessionId): void;
}
