// What the layers above see of a guest. `openGuest` (channel.ts beside this file) makes one from a byte stream.

import type { Duplex } from 'node:stream';
import type { ContextFate, GuestException, Language, MimeBundle } from '@bulkhead/protocol';
import type { CallAnswer, GuestCall, GuestCalls } from './guest-calls.ts';

export interface Identity {
  readonly epoch: number;
  readonly key: Uint8Array;
  readonly hostname: string;
  readonly machineId: string;
  /** Whether generators in user space take new seeds: yes for every copy; a session that wakes goes on with its own. */
  readonly renew: boolean;
}

export interface Confirmation {
  readonly bootId: string;
  /** Guest clock minus host clock when the confirmation arrived. */
  readonly clockSkewMs: number;
}

export type GuestEvent =
  | { readonly type: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly type: 'result' | 'display'; readonly data: MimeBundle; readonly sizeBytes: number }
  | { readonly type: 'exception'; readonly exception: GuestException };

export interface RunRequest {
  readonly language: Language;
  readonly context: string;
  readonly code: Uint8Array;
  readonly maxOutputBytes: number;
  readonly maxEventBytes: number;
}

export interface RunOutcome {
  readonly status: 'ok' | 'error' | 'interrupted' | 'died';
  readonly fate: Exclude<ContextFate, 'gone'>;
  readonly elapsedMs: number;
  readonly dropped: { readonly stdout: number; readonly stderr: number; readonly events: number };
  readonly exitCode: number | null;
  readonly signal: number | null;
}

/**
 * A running turn. Events come in order, may be read once, and apply back-pressure: the guest waits while nobody reads, so whoever
 * only wants the outcome reads them all the same, or calls `return` on their iterator, which throws away what is left. Both end
 * alike: `events` throws what `outcome` rejects with, after everything that came before. `bytes` are the reader's to keep.
 * `kill` has no deadline here; whoever calls it destroys the machine when the outcome does not follow.
 */
export interface GuestRun {
  readonly events: AsyncIterable<GuestEvent>;
  readonly outcome: Promise<RunOutcome>;
  interrupt(): void;
  kill(): void;
}

export interface ExecRequest {
  readonly argv: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly pty?: { readonly columns: number; readonly rows: number };
}

export interface ExecOutcome {
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly elapsedMs: number;
}

/** A running command; `output` is like the events of a turn. A failing `stdin` kills it and is what `outcome` rejects with. */
export interface GuestExec {
  readonly output: AsyncIterable<{ readonly stream: 'stdout' | 'stderr'; readonly bytes: Uint8Array }>;
  readonly outcome: Promise<ExecOutcome>;
  interrupt(): void;
  kill(): void;
  resize(columns: number, rows: number): void;
}

export interface BackgroundProcess {
  readonly process: string;
  readonly argv: readonly string[];
  readonly running: boolean;
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly outputBytes: number;
}

export interface FileStat {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly sizeBytes: number;
  readonly mode: number;
  readonly modifiedMs: number;
}

export interface FileEntry extends FileStat {
  readonly name: string;
}

export interface ContextInfo {
  readonly language: Language;
  readonly context: string;
  readonly alive: boolean;
  readonly busy: boolean;
}

/**
 * A TCP connection to a server in the guest, each direction with its own end and its own back-pressure. Whoever has it destroys it. Its
 * errors are `BulkheadError`s: `port_unreachable` when the server broke it, otherwise the code of the channel's end.
 */
export type GuestConnection = Duplex;

export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** Why the channel ended; the first reason wins. */
export interface ChannelEnd {
  readonly reason: 'closed' | 'ended' | 'protocol_violation' | 'unresponsive';
  readonly detail: string;
}

/**
 * The guest, through its channel. Every rejected promise is a `BulkheadError`; after the channel has ended every call
 * rejects with the code of that end (`guest_protocol_violation`, `guest_unresponsive`, `machine_lost`, `session_ended`).
 * Paths are the guest's own, absolute or relative to `/home/user`; the host never resolves them.
 */
export interface Guest extends AsyncDisposable {
  /** Settles once. Never rejects. */
  readonly ended: Promise<ChannelEnd>;
  /**
   * When the host last had an operation under way: now, while there is one. A connection counts only when bytes move on it: it may
   * be open for nobody.
   */
  readonly activeAtUnixMs: number;
  /** Resolves when the agent has said HELLO; only while a template is made. */
  hello(options?: CallOptions): Promise<void>;
  identify(identity: Identity, options?: CallOptions): Promise<Confirmation>;
  ping(options?: CallOptions): Promise<void>;
  run(request: RunRequest): GuestRun;
  restartContext(language: Language, context: string, options?: CallOptions): Promise<void>;
  listContexts(options?: CallOptions): Promise<readonly ContextInfo[]>;
  exec(request: ExecRequest): GuestExec;
  startProcess(request: Omit<ExecRequest, 'stdin' | 'pty'>, options?: CallOptions): Promise<string>;
  listProcesses(options?: CallOptions): Promise<readonly BackgroundProcess[]>;
  processOutput(process: string): AsyncIterable<Uint8Array>;
  killProcess(process: string, options?: CallOptions): Promise<void>;
  /** Begins with the first read; leaving early, or the signal, ends it in the guest too. */
  readFile(path: string, options?: CallOptions): AsyncIterable<Uint8Array>;
  /**
   * All or nothing. Rejects with `upload_incomplete` when the content is shorter than `sizeBytes` or its source fails,
   * `invalid_request` when it is longer. A chunk must not change after it was yielded.
   */
  writeFile(path: string, content: AsyncIterable<Uint8Array>, sizeBytes: number, options?: CallOptions): Promise<void>;
  listFiles(
    path: string,
    options?: CallOptions,
  ): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }>;
  stat(path: string, options?: CallOptions): Promise<FileStat>;
  move(from: string, to: string, options?: CallOptions): Promise<void>;
  remove(path: string, options?: CallOptions & { readonly recursive?: boolean }): Promise<void>;
  mkdir(path: string, options?: CallOptions): Promise<void>;
  /**
   * To a port of the guest's own loopback. Errors: `port_unreachable` when no server takes it, `too_many_connections`,
   * `limit_exceeded`, `cancelled`.
   */
  connect(port: number, options?: CallOptions): Promise<GuestConnection>;
  /** Guest code reaches its tools through `handle` until the epoch ends; once an epoch. Errors: `state_conflict` when it does already. */
  serveCalls(handle: (call: GuestCall) => Promise<CallAnswer>): GuestCalls;
  /**
   * What guest code sends to the proxy in the guest comes out here, a connection each, until the epoch ends; once an epoch. Errors: `state_conflict` when
   * it does already.
   */
  serveEgress(take: (connection: GuestConnection) => void): void;
  info(
    options?: CallOptions,
  ): Promise<{ readonly memoryFreeBytes: number; readonly scratchFreeBytes: number; readonly processes: number }>;
  settle(options?: CallOptions): Promise<void>;
  /** Has contexts that are idle use what is slow the first time, and forget all that they have run. */
  rehearse(options?: CallOptions): Promise<void>;
  /**
   * Stops all guest code, and the channel with it, until the next `identify`; what runs on then finds the right time.
   * Connections are closed: what is at their other end cannot sleep. Errors: `state_conflict` while an operation is under way; the guest's own when a process cannot be stopped.
   */
  freeze(): Promise<void>;
}
