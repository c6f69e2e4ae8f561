// What commands need of sessions, wherever these are: in this process, or on a server. Commands know this and no more.

import type {
  CheckpointResource,
  Language,
  RuntimeName,
  SessionId,
  SessionResource,
  SizeName,
  SnapshotId,
  Tier,
  TimeLimits,
  TurnEvent,
  TurnRequest,
  TurnResult,
} from '@bulkhead/protocol';
import type { Administration } from './administration.ts';
import type { AuthorityAccess } from './authority-access.ts';

/** What only the host of a session knows is null elsewhere. */
export interface SessionInfo extends SessionResource {
  readonly bootId: string | null;
  readonly snapshot: SnapshotId | null;
}

export interface SessionRequest {
  readonly size: SizeName;
  readonly runtime?: RuntimeName;
  readonly minimumTier?: Tier;
  readonly timeLimits?: Partial<TimeLimits>;
  /** The operations of tools that it may use. */
  readonly grant?: readonly string[];
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface CommandTurn {
  events(): AsyncIterable<TurnEvent>;
  /** How a turn failed is in its `error`. */
  readonly result: Promise<TurnResult>;
  readonly ended: boolean;
  interrupt(): void;
}

export interface GuestFile {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly sizeBytes: number;
}

export interface CommandFiles {
  listFiles(
    path: string,
    options?: CallOptions,
  ): Promise<{ readonly entries: readonly GuestFile[]; readonly truncated: boolean }>;
  readFile(path: string, options?: CallOptions): AsyncIterable<Uint8Array>;
  writeFile(path: string, content: AsyncIterable<Uint8Array>, sizeBytes: number, options?: CallOptions): Promise<void>;
}

/** A session that turns are run in. */
export interface CommandSession {
  readonly id: SessionId;
  readonly info: SessionInfo;
  readonly files: CommandFiles;
  /** An aborted signal interrupts the turn. */
  startTurn(request: TurnRequest, options?: CallOptions): CommandTurn;
  restartContext(language: Language): Promise<void>;
}

/** Every call ends when the command has to end. Disposing it ends the sessions that were launched with it. */
export interface Backend extends AsyncDisposable {
  readonly administration: Administration;
  readonly authority: AuthorityAccess;
  /** One that ends with the command. */
  launchSession(request: SessionRequest, signal: AbortSignal): Promise<CommandSession>;
  /** One that is kept, resumed when it sleeps. */
  openSession(id: SessionId, signal: AbortSignal): Promise<CommandSession>;
  /** One to keep, as it will be found by the next command. */
  createSession(request: SessionRequest, signal: AbortSignal): Promise<SessionInfo>;
  listSessions(options: { readonly ended: boolean }): Promise<readonly SessionInfo[]>;
  getSession(id: SessionId): Promise<SessionInfo>;
  suspendSession(id: SessionId): Promise<SessionInfo>;
  resumeSession(id: SessionId): Promise<SessionInfo>;
  /** As they will be found by the next command. */
  forkSession(id: SessionId, count: number): Promise<readonly SessionInfo[]>;
  listCheckpoints(id: SessionId): Promise<readonly CheckpointResource[]>;
  checkpointSession(id: SessionId, name: string): Promise<CheckpointResource>;
  restoreCheckpoint(id: SessionId, name: string): Promise<SessionInfo>;
  deleteCheckpoint(id: SessionId, name: string): Promise<void>;
  terminateSession(id: SessionId): Promise<SessionInfo>;
}
