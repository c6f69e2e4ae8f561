// HTTP servers in a session that are reachable through the server.

import type { RouteAnswer, Routes, SessionId } from '@bulkhead/protocol';
import type { CallOptions, CreateOptions } from './options.ts';
import type { Transport } from './transport.ts';

export type PortResource = RouteAnswer<Routes['listPorts']>['items'][number];
/** `url` is where it is reachable, for whoever sends `token` in the header `X-Bulkhead-Port-Token`. */
export type ExposedPort = RouteAnswer<Routes['exposePort']> & { readonly url: string };

export class Ports {
  readonly #transport: Transport;
  readonly #session: SessionId;

  constructor(transport: Transport, session: SessionId) {
    this.#transport = transport;
    this.#session = session;
  }

  /** Makes a port reachable, for an hour unless said. The token is in this answer and nowhere else. */
  async expose(
    port: number,
    options: CreateOptions & { readonly expiresInSeconds?: number } = {},
  ): Promise<ExposedPort> {
    const { expiresInSeconds, ...call } = options;
    const exposed = await this.#transport.call(
      'exposePort',
      {
        params: { session: this.#session },
        body: { port, ...(expiresInSeconds === undefined ? {} : { expiresInSeconds }) },
      },
      call,
    );
    return { ...exposed, url: this.#transport.resolve(exposed.path).href };
  }

  async list(options: CallOptions = {}): Promise<readonly PortResource[]> {
    return (await this.#transport.call('listPorts', { params: { session: this.#session } }, options)).items;
  }

  /** Makes a port unreachable again; connections to it are closed. */
  async close(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call('closePort', { params: { session: this.#session, port: id } }, options);
  }
}
