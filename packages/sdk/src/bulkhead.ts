// The client of a Bulkhead server.

import type { RouteAnswer, Routes } from '@bulkhead/protocol';
import { Approvals } from './approvals.ts';
import { Background } from './background.ts';
import { Decisions } from './decisions.ts';
import { type BulkheadOptions, type CallOptions, checkOptions } from './options.ts';
import { Pages } from './pages.ts';
import { Sessions } from './sessions.ts';
import { Tenants } from './tenants.ts';
import { Transport } from './transport.ts';

export type Caller = RouteAnswer<Routes['getCaller']>;
export type Limits = RouteAnswer<Routes['getLimits']>;
export type TemplateResource = RouteAnswer<Routes['listTemplates']>['items'][number];
export type RuntimeResource = RouteAnswer<Routes['listRuntimes']>['items'][number];

/**
 * It holds no connection. Disposing it waits for what callers have given up: the end of sessions that came too late, interrupts
 * of turns. A process that ends right after an abort wants `await using client`.
 */
export class Bulkhead implements AsyncDisposable {
  readonly sessions: Sessions;
  readonly tenants: Tenants;
  readonly decisions: Decisions;
  readonly approvals: Approvals;
  readonly #transport: Transport;
  readonly #background = new Background();

  /** Errors: `invalid_request`. Nothing is sent yet. */
  constructor(options: BulkheadOptions) {
    this.#transport = new Transport(checkOptions(options));
    this.sessions = new Sessions({ transport: this.#transport, background: this.#background });
    this.tenants = new Tenants(this.#transport);
    this.decisions = new Decisions(this.#transport);
    this.approvals = new Approvals(this.#transport);
  }

  /** Who is asking, and what they may do. */
  async caller(options: CallOptions = {}): Promise<Caller> {
    return await this.#transport.call('getCaller', {}, options);
  }

  /** Every bound, the sizes of machines and the languages. */
  async limits(options: CallOptions = {}): Promise<Limits> {
    return await this.#transport.call('getLimits', {}, options);
  }

  /** The guest images of the server's host, newest first. */
  templates(options: CallOptions = {}): Pages<TemplateResource> {
    return new Pages((cursor) =>
      this.#transport.call('listTemplates', { query: cursor === undefined ? {} : { cursor } }, options),
    );
  }

  /** What makes machines on the server's host, with the tier of each. */
  async runtimes(options: CallOptions = {}): Promise<readonly RuntimeResource[]> {
    return (await this.#transport.call('listRuntimes', {}, options)).items;
  }

  /** Whether the server lives. Needs no key. */
  async health(options: CallOptions = {}): Promise<RouteAnswer<Routes['getHealth']>> {
    return await this.#transport.call('getHealth', {}, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#background[Symbol.asyncDispose]();
  }
}
