import type { CallerSessions } from '../caller-sessions.ts';

/** What this dialect asks of sessions: use cases, each for a caller. */
export type McpSessions = Pick<
  CallerSessions,
  | 'create'
  | 'list'
  | 'get'
  | 'suspend'
  | 'resume'
  | 'fork'
  | 'terminate'
  | 'startTurn'
  | 'guest'
  | 'guestToRead'
  | 'guestAwake'
  | 'tools'
  | 'callTool'
>;

export interface McpCall {
  readonly signal?: AbortSignal;
  /** Told while something long is made first: the image, a template. */
  readonly onProgress?: (message: string) => void;
}
