// Sessions in this process, for one command. What is kept sleeps when the command is over.

import type { CheckpointResource, SessionId, TurnRequest } from '@bulkhead/protocol';
import {
  type SessionHandle,
  type SessionRecord,
  checkpointResource,
  localTenant,
  sessionResource,
} from '@bulkhead/server';
import type { Administration } from './administration.ts';
import type { AuthorityAccess } from './authority-access.ts';
import type {
  Backend,
  CallOptions,
  CommandFiles,
  CommandSession,
  CommandTurn,
  SessionInfo,
  SessionRequest,
} from './backend.ts';
import type { CommandContext } from './command.ts';
import { LocalAdministration } from './local-administration.ts';
import { LocalAuthority } from './local-authority.ts';
import { type OpenedBulkhead, openLocal } from './local-session.ts';

/** Errors: those of `openBulkhead`. */
export async function openLocalBackend(
  context: CommandContext,
  options: { readonly quiet: boolean; readonly keep: boolean },
): Promise<Backend> {
  return new LocalBackend(await openLocal(context, options));
}

class LocalBackend implements Backend {
  readonly administration: Administration;
  readonly authority: AuthorityAccess;
  readonly #local: OpenedBulkhead;

  constructor(local: OpenedBulkhead) {
    this.#local = local;
    this.administration = new LocalAdministration(local.bulkhead);
    this.authority = new LocalAuthority(local.bulkhead);
  }

  async launchSession(request: SessionRequest, signal: AbortSignal): Promise<CommandSession> {
    return new LocalSession(await this.#local.createSession(request, signal));
  }

  async openSession(id: SessionId, signal: AbortSignal): Promise<CommandSession> {
    return new LocalSession(await this.#local.openSession(id, signal));
  }

  async createSession(request: SessionRequest, signal: AbortSignal): Promise<SessionInfo> {
    const { id } = await this.#local.createSession(request, signal);
    return await this.suspendSession(id);
  }

  async listSessions({ ended }: { readonly ended: boolean }): Promise<readonly SessionInfo[]> {
    const all = this.#sessions.listSessions(localTenant);
    return all.filter(({ endedAtUnixMs }) => ended || endedAtUnixMs === null).map(toInfo);
  }

  async getSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(this.#sessions.getSession(localTenant, id));
  }

  async suspendSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await this.#sessions.suspendSession(localTenant, id));
  }

  async resumeSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await this.#sessions.resumeSession(localTenant, id, this.#local.options));
  }

  async forkSession(id: SessionId, count: number): Promise<readonly SessionInfo[]> {
    const forked = await this.#sessions.forkSession(localTenant, id, count, this.#local.options);
    return await Promise.all(forked.map((child) => this.suspendSession(child.id)));
  }

  async listCheckpoints(id: SessionId): Promise<readonly CheckpointResource[]> {
    return (await this.#sessions.listCheckpoints(localTenant, id)).map(checkpointResource);
  }

  async checkpointSession(id: SessionId, name: string): Promise<CheckpointResource> {
    await this.#sessions.resumeSession(localTenant, id, this.#local.options);
    return checkpointResource(await this.#sessions.checkpointSession(localTenant, id, name));
  }

  async restoreCheckpoint(id: SessionId, name: string): Promise<SessionInfo> {
    return toInfo(await this.#sessions.restoreCheckpoint(localTenant, id, name));
  }

  async deleteCheckpoint(id: SessionId, name: string): Promise<void> {
    await this.#sessions.deleteCheckpoint(localTenant, id, name);
  }

  async terminateSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await this.#sessions.terminateSession(localTenant, id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#local[Symbol.asyncDispose]();
  }

  get #sessions(): OpenedBulkhead['bulkhead']['sessions'] {
    return this.#local.bulkhead.sessions;
  }
}

class LocalSession implements CommandSession {
  readonly id: SessionId;
  readonly #handle: SessionHandle;

  constructor(handle: SessionHandle) {
    this.#handle = handle;
    this.id = handle.id;
  }

  get info(): SessionInfo {
    return toInfo(this.#handle.record);
  }

  get files(): CommandFiles {
    return this.#handle.guest;
  }

  startTurn(request: TurnRequest, options: CallOptions = {}): CommandTurn {
    return this.#handle.startTurn(request, options);
  }

  async restartContext(language: TurnRequest['language'] & string): Promise<void> {
    await this.#handle.restartContext(language);
  }
}

function toInfo(record: SessionRecord): SessionInfo {
  return { ...sessionResource(record), bootId: record.bootId, snapshot: record.snapshot };
}
