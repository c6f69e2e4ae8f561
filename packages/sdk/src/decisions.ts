// What was decided about calls of tools, for who may read it.

import type { DecisionExplanation, DecisionReplay, DecisionResource } from '@bulkhead/protocol';
import type { CallOptions, ListOptions } from './options.ts';
import { Pages } from './pages.ts';
import type { Transport } from './transport.ts';

export interface DecisionFilter extends ListOptions {
  readonly session?: string;
  readonly outcome?: DecisionResource['outcome'];
  /** ISO 8601. */
  readonly since?: string;
}

export class Decisions {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Newest first. */
  list({ signal, ...filter }: DecisionFilter = {}): Pages<DecisionResource> {
    const options = signal === undefined ? {} : { signal };
    return new Pages((cursor) => {
      const query = { ...filter, ...(cursor === undefined ? {} : { cursor }) };
      return this.#transport.call('listDecisions', { query }, options);
    });
  }

  async get(decision: string, options: CallOptions = {}): Promise<DecisionResource> {
    return await this.#transport.call('getDecision', { params: { decision } }, options);
  }

  /** The policies that determined it, their text, what they saw, what the session was granted. */
  async explain(decision: string, options: CallOptions = {}): Promise<DecisionExplanation> {
    return await this.#transport.call('explainDecision', { params: { decision } }, options);
  }

  /** Asks the policies that it names again. Errors: `state_conflict` where none was asked. */
  async replay(decision: string, options: CallOptions = {}): Promise<DecisionReplay> {
    return await this.#transport.call('replayDecision', { params: { decision } }, options);
  }
}
