// Sessions on a server, for one command. Only loaded when there is one.

import type { CheckpointResource, SessionId, SessionResource, TurnRequest } from '@bulkhead/protocol';
import { Bulkhead, type OwnedSession, type Session, type TurnStream, chunksOf } from '@bulkhead/sdk';
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
import type { ServerAddress } from './find-server.ts';
import { ServerAdministration } from './server-administration.ts';
import { ServerAuthority } from './server-authority.ts';

export class ServerBackend implements Backend {
  readonly administration: Administration;
  readonly authority: AuthorityAccess;
  readonly #client: Bulkhead;
  readonly #ended: AbortSignal;
  readonly #launched: OwnedSession[] = [];

  constructor({ url, apiKey }: ServerAddress, ended: AbortSignal) {
    this.#client = new Bulkhead(apiKey === undefined ? { url } : { url, apiKey });
    this.#ended = ended;
    this.administration = new ServerAdministration(this.#client, url, ended);
    this.authority = new ServerAuthority(this.#client, ended);
  }

  async launchSession(request: SessionRequest, signal: AbortSignal): Promise<CommandSession> {
    const session = await this.#create(request, signal);
    this.#launched.push(session);
    return new ServerSession(session, this.#ended);
  }

  async openSession(id: SessionId, signal: AbortSignal): Promise<CommandSession> {
    const call = { signal: AbortSignal.any([signal, this.#ended]) };
    const session = await this.#client.sessions.get(id, call);
    if (session.state === 'suspended') await session.resume(call);
    return new ServerSession(session, this.#ended);
  }

  async createSession(request: SessionRequest, signal: AbortSignal): Promise<SessionInfo> {
    return toInfo((await this.#create(request, signal)).info);
  }

  async #create({ grant, ...request }: SessionRequest, signal: AbortSignal): Promise<OwnedSession> {
    const options = { signal: AbortSignal.any([signal, this.#ended]) };
    return await this.#client.sessions.create(
      grant === undefined ? request : { ...request, grant: [...grant] },
      options,
    );
  }

  async listSessions({ ended }: { readonly ended: boolean }): Promise<readonly SessionInfo[]> {
    return (await this.#client.sessions.list({ ended, limit: pageCount }, this.#call).all()).map(toInfo);
  }

  async getSession(id: SessionId): Promise<SessionInfo> {
    return toInfo((await this.#session(id)).info);
  }

  async suspendSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await (await this.#session(id)).suspend(this.#call));
  }

  async resumeSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await (await this.#session(id)).resume(this.#call));
  }

  async forkSession(id: SessionId, count: number): Promise<readonly SessionInfo[]> {
    const forks = await (await this.#session(id)).fork({ count, ...this.#call });
    return forks.map(({ info }) => toInfo(info));
  }

  async listCheckpoints(id: SessionId): Promise<readonly CheckpointResource[]> {
    return await (await this.#session(id)).checkpoints.list(this.#call);
  }

  async checkpointSession(id: SessionId, name: string): Promise<CheckpointResource> {
    return await (await this.#session(id)).checkpoints.create(name, this.#call);
  }

  async restoreCheckpoint(id: SessionId, name: string): Promise<SessionInfo> {
    return toInfo(await (await this.#session(id)).checkpoints.restore(name, this.#call));
  }

  async deleteCheckpoint(id: SessionId, name: string): Promise<void> {
    await (await this.#session(id)).checkpoints.delete(name, this.#call);
  }

  async terminateSession(id: SessionId): Promise<SessionInfo> {
    return toInfo(await (await this.#session(id)).terminate(this.#call));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // They end however the command did; what of that fails is told together.
    await using ending = new AsyncDisposableStack();
    ending.use(this.#client);
    for (const session of this.#launched) ending.use(session);
  }

  get #call(): { readonly signal: AbortSignal } {
    return { signal: this.#ended };
  }

  async #session(id: SessionId): Promise<Session> {
    return await this.#client.sessions.get(id, this.#call);
  }
}

const pageCount = 200;

class ServerSession implements CommandSession {
  readonly id: SessionId;
  readonly files: CommandFiles;
  readonly #session: Session;
  readonly #ended: AbortSignal;

  constructor(session: Session, ended: AbortSignal) {
    this.#session = session;
    this.#ended = ended;
    this.id = session.id;
    this.files = filesOf(session);
  }

  get info(): SessionInfo {
    return toInfo(this.#session.info);
  }

  startTurn(request: TurnRequest, { signal }: CallOptions = {}): CommandTurn {
    // The first interrupt stops the code, whose end is then told like any other; the second gives up.
    const { code, ...options } = request;
    const stream = this.#session.stream(code, { ...options, signal: this.#ended });
    const turn = new ServerTurn(stream);
    signal?.addEventListener('abort', () => turn.interrupt(), { once: true });
    if (signal?.aborted === true) turn.interrupt();
    return turn;
  }

  async restartContext(language: TurnRequest['language'] & string): Promise<void> {
    await this.#session.restartContext(language, { signal: this.#ended });
  }
}

class ServerTurn implements CommandTurn {
  ended = false;
  readonly #stream: TurnStream;

  constructor(stream: TurnStream) {
    this.#stream = stream;
  }

  async *events(): ReturnType<TurnStream[typeof Symbol.asyncIterator]> {
    yield* this.#stream;
    this.ended = true;
  }

  get result(): ReturnType<TurnStream['result']> {
    return this.#finish();
  }

  /** What of it fails is told by the turn. */
  interrupt(): void {
    this.#stream.cancel().catch(() => undefined);
  }

  async #finish(): ReturnType<TurnStream['result']> {
    try {
      return await this.#stream.result();
    } finally {
      this.ended = true;
    }
  }
}

function filesOf({ files }: Session): CommandFiles {
  return {
    listFiles: async (path, options) => {
      const { items, truncated } = await files.list(path, options);
      return { entries: items, truncated };
    },
    async *readFile(path, options) {
      yield* chunksOf(await files.stream(path, options));
    },
    writeFile: async (path, content, sizeBytes, options) => {
      await files.write(path, content, { ...options, sizeBytes });
    },
  };
}

function toInfo(resource: SessionResource): SessionInfo {
  return { ...resource, bootId: null, snapshot: null };
}
