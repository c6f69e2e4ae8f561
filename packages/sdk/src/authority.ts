// What a tenant has set up for its sessions: tools, secrets, policies, subjects that are disabled.

import type { AuthorityResource, DecisionChangesPage, PolicyCheck, RouteBody, Routes } from '@bulkhead/protocol';
import { type CallOptions, type VersionedOptions, ifMatch } from './options.ts';
import type { Transport } from './transport.ts';

export type ToolSettingsRequest = RouteBody<Routes['putTool']>;

/** Which recorded decisions are asked again, a page at a time, newest first. */
export interface RecordedOptions extends CallOptions {
  readonly session?: string;
  /** ISO 8601. */
  readonly since?: string;
  readonly limit?: number;
  /** `nextCursor` of the page before. */
  readonly cursor?: string;
}

/** Every change answers with all of it, one version later; calls of tools meet it from the next on. */
export class Authority {
  readonly #transport: Transport;
  readonly #tenant: string;

  constructor(transport: Transport, tenant: string) {
    this.#transport = transport;
    this.#tenant = tenant;
  }

  async get(options: CallOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('getAuthority', { params: this.#params }, options);
  }

  /** Errors: `invalid_request` with every problem in `details.problems`. */
  async setPolicies(policies: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('putPolicies', { params: this.#params, body: { policies } }, ifMatch(options));
  }

  /** What is wrong with them, without setting them. */
  async checkPolicies(policies: string, options: CallOptions = {}): Promise<PolicyCheck> {
    return await this.#transport.call('checkPolicies', { params: this.#params, body: { policies } }, options);
  }

  /** Which recorded decisions would come out differently under these. */
  async diffPolicies(policies: string, options: RecordedOptions = {}): Promise<DecisionChangesPage> {
    const { signal, ...recorded } = options;
    const body = { policies, ...recorded };
    return await this.#transport.call('diffPolicies', { params: this.#params, body }, withSignal(signal));
  }

  /** Asks recorded decisions again of the policies that each names: none should come out differently. */
  async replayDecisions(options: RecordedOptions = {}): Promise<DecisionChangesPage> {
    const { signal, ...body } = options;
    return await this.#transport.call('replayDecisions', { params: this.#params, body }, withSignal(signal));
  }

  /** It is opened first. For who administers the installation: tools run on its host. */
  async setTool(
    name: string,
    settings: ToolSettingsRequest,
    options: VersionedOptions = {},
  ): Promise<AuthorityResource> {
    const params = { ...this.#params, tool: name };
    return await this.#transport.call('putTool', { params, body: settings }, ifMatch(options));
  }

  async removeTool(name: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('deleteTool', { params: { ...this.#params, tool: name } }, ifMatch(options));
  }

  /** No answer ever has it. For who administers the installation. */
  async setSecret(name: string, value: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    const params = { ...this.#params, secret: name };
    return await this.#transport.call('putSecret', { params, body: { value } }, ifMatch(options));
  }

  async removeSecret(name: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('deleteSecret', { params: { ...this.#params, secret: name } }, ifMatch(options));
  }

  /** Refuses its keys and tokens, and the calls of tools of its sessions. */
  async disableSubject(subject: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('disableSubject', { params: { ...this.#params, subject } }, ifMatch(options));
  }

  async enableSubject(subject: string, options: VersionedOptions = {}): Promise<AuthorityResource> {
    return await this.#transport.call('enableSubject', { params: { ...this.#params, subject } }, ifMatch(options));
  }

  get #params(): { readonly tenant: string } {
    return { tenant: this.#tenant };
  }
}

function withSignal(signal: AbortSignal | undefined): CallOptions {
  return signal === undefined ? {} : { signal };
}
