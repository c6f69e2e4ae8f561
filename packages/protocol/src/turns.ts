import type { SessionId, TurnId } from './ids.ts';
import type { ErrorJson } from './errors.ts';

export const languages = ['python', 'javascript', 'bash'] as const;
export type Language = (typeof languages)[number];

/** A result in every representation that the interpreter offered. Text types are strings; binary types are base64. */
export type MimeBundle = Readonly<Record<string, unknown>>;

export interface TracebackFrame {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly source?: string;
}

/** What the guest's interpreter raised, as structure. Every string is the guest's: escape it before showing it. */
export interface GuestException {
  readonly name: string;
  readonly value: string;
  readonly frames: readonly TracebackFrame[];
  /** The traceback as its interpreter prints it, without colours. */
  readonly traceback: string;
}

interface EventBase {
  /** 1 for a turn's first event, then one more each. A reader that has seen `seq` asks for what follows it. */
  readonly seq: number;
}
export type TurnEvent =
  | (EventBase & { readonly type: 'stdout' | 'stderr'; readonly text: string })
  | (EventBase & { readonly type: 'result' | 'display'; readonly data: MimeBundle })
  | (EventBase & { readonly type: 'exception'; readonly exception: GuestException })
  | (EventBase & {
      readonly type: 'truncated';
      readonly stream: 'stdout' | 'stderr' | 'results' | 'events';
      readonly droppedBytes: number;
      /** False when the guest may have dropped more than the host saw. */
      readonly exact: boolean;
    })
  | (EventBase & { readonly type: 'end'; readonly outcome: TurnOutcome });
export type TurnEventType = TurnEvent['type'];

/** What is left of the context after the turn: `kept` (variables live), `lost` (a new interpreter starts with the next turn), `gone` (no machine). */
export const contextFates = ['kept', 'lost', 'gone'] as const;
export type ContextFate = (typeof contextFates)[number];

export interface TurnOutcome {
  readonly status: 'ok' | 'error';
  readonly error: ErrorJson | null;
  readonly exception: GuestException | null;
  readonly context: ContextFate;
  /** What the guest says it took; for display only. */
  readonly guestMs: number;
  /** What the host measured, from the first byte sent to the last received. */
  readonly turnMs: number;
}

export interface TurnRequest {
  readonly code: string;
  readonly language?: Language;
  /** A named context of that language; default one per language. */
  readonly context?: string;
  readonly timeoutMs?: number;
}

/** A finished turn, folded from its events. */
export interface TurnResult {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  readonly status: 'ok' | 'error';
  readonly stdout: string;
  readonly stderr: string;
  readonly results: readonly MimeBundle[];
  readonly error: ErrorJson | null;
  readonly exception: GuestException | null;
  readonly context: ContextFate;
  readonly truncated: { readonly stdoutBytes: number; readonly stderrBytes: number; readonly resultBytes: number };
  readonly timings: { readonly turnMs: number; readonly guestMs: number };
}
