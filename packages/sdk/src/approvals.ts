// Calls of tools that wait for a person.

import type { ApprovalDetail, ApprovalResource, ApprovalState } from '@bulkhead/protocol';
import type { CallOptions, ListOptions } from './options.ts';
import { Pages } from './pages.ts';
import type { Transport } from './transport.ts';

export interface ApprovalFilter extends ListOptions {
  readonly state?: ApprovalState;
  readonly session?: string;
}

/** Answering needs `approvals:write`, and is for somebody else than who runs the session. */
export class Approvals {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Newest first, without their arguments. */
  list({ signal, ...filter }: ApprovalFilter = {}): Pages<ApprovalResource> {
    const options = signal === undefined ? {} : { signal };
    return new Pages((cursor) => {
      const query = { ...filter, ...(cursor === undefined ? {} : { cursor }) };
      return this.#transport.call('listApprovals', { query }, options);
    });
  }

  /** With the exact arguments: what is approved, and nothing else. They are a guest's words. */
  async get(approval: string, options: CallOptions = {}): Promise<ApprovalDetail> {
    return await this.#transport.call('getApproval', { params: { approval } }, options);
  }

  /** Errors: `forbidden`, `state_conflict` with `details.state` when it is not pending any more. */
  async approve(
    approval: string,
    { reason, ...options }: CallOptions & { readonly reason?: string } = {},
  ): Promise<ApprovalResource> {
    const body = reason === undefined ? {} : { reason };
    return await this.#transport.call('approveCall', { params: { approval }, body }, options);
  }

  /** Errors: as `approve`. */
  async refuse(approval: string, reason: string, options: CallOptions = {}): Promise<ApprovalResource> {
    return await this.#transport.call('refuseCall', { params: { approval }, body: { reason } }, options);
  }
}
