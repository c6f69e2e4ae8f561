// What a session was, kept under a name.

import type { CheckpointResource, SessionId, SessionResource } from '@bulkhead/protocol';
import type { CallOptions, CreateOptions } from './options.ts';
import type { Transport } from './transport.ts';

export class Checkpoints {
  readonly #transport: Transport;
  readonly #session: SessionId;
  readonly #learn: (info: SessionResource) => SessionResource;

  constructor(transport: Transport, session: SessionId, learn: (info: SessionResource) => SessionResource) {
    this.#transport = transport;
    this.#session = session;
    this.#learn = learn;
  }

  /** Oldest first. */
  async list(options: CallOptions = {}): Promise<readonly CheckpointResource[]> {
    return (await this.#transport.call('listCheckpoints', { params: { session: this.#session } }, options)).items;
  }

  /** Keeps what the session is now; one of that name is replaced. */
  async create(name: string, options: CreateOptions = {}): Promise<CheckpointResource> {
    return await this.#transport.call(
      'createCheckpoint',
      { params: { session: this.#session }, body: { name } },
      options,
    );
  }

  /** Puts the session back to it. */
  async restore(name: string, options: CallOptions = {}): Promise<SessionResource> {
    const params = { session: this.#session, checkpoint: name };
    return this.#learn(await this.#transport.call('restoreCheckpoint', { params }, options));
  }

  async delete(name: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call('deleteCheckpoint', { params: { session: this.#session, checkpoint: name } }, options);
  }
}
