// An HTTP service as a tool: operations that were declared, each one request to one origin. The credential is put in on the host. A redirect is followed
// only where the settings say so, and each hop is looked at as the first was: its origin, what its name resolves to, whether the credential may go there.

import { BulkheadError, type HttpSettings } from '@bulkhead/protocol';
import type { Arguments } from '../../authority/arguments.ts';
import type { Resource, ToolDescription } from '../../authority/tool-description.ts';
import type { Resolve } from '../../lib/network-addresses.ts';
import { type PinnedAnswer, type Reach, sendPinned } from '../../lib/pinned-request.ts';
import { type OpenCredential, openCredential } from '../credential.ts';
import { inTime, unreachable } from '../remote-errors.ts';
import type { Tool, ToolContext, ToolResult } from '../tool.ts';
import { describeHttpTool, operationOf, resourceOfHttpCall } from './http-operations.ts';
import { readAnswer } from './read-answer.ts';
import { type WrittenRequest, writeRequest } from './write-request.ts';

export interface HttpToolOptions {
  readonly name: string;
  /** Checked by `checkHttpOperations`. */
  readonly settings: HttpSettings;
  readonly secret: (name: string) => Promise<string>;
  readonly resolve?: Resolve | undefined;
}

export class HttpTool implements Tool {
  readonly description: ToolDescription;
  readonly #settings: HttpSettings;
  readonly #origin: URL;
  readonly #secret: HttpToolOptions['secret'];
  readonly #reach: Reach;

  constructor({ name, settings, secret, resolve }: HttpToolOptions) {
    this.description = describeHttpTool(name, settings);
    this.#settings = settings;
    this.#origin = new URL(settings.origin);
    this.#secret = secret;
    this.#reach = { ranges: settings.addresses, resolve };
  }

  resourceOf(operation: string): Resource {
    return resourceOfHttpCall(this.#settings, operation);
  }

  async call(operation: string, checked: Arguments, { signal }: ToolContext): Promise<ToolResult> {
    const { operations, credential, timeoutMs, bytesMax, contentTypes } = this.#settings;
    const request = writeRequest(operationOf(operations, operation), checked);
    const opened = await openCredential(credential, this.#secret);
    return await inTime({ signal, timeoutMs }, async (bounded) => {
      const answer = await this.#send(request, opened, bounded);
      const rules = { bytesMax, credential: opened, ...(contentTypes === undefined ? {} : { contentTypes }) };
      return await readAnswer(answer, rules);
    });
  }

  async #send(request: WrittenRequest, credential: OpenCredential, signal: AbortSignal): Promise<PinnedAnswer> {
    const { redirects, headers } = this.#settings;
    let origin = this.#origin;
    let { path } = request;
    for (let hops = 0; ; hops += 1) {
      const isOwn = origin.origin === this.#origin.origin;
      const answer = await sendPinned(
        {
          ...request,
          origin,
          path: isOwn && credential.query !== undefined ? withQuery(path, credential.query) : path,
          headers: {
            accept: '*/*',
            'user-agent': 'bulkhead',
            ...(isOwn ? { ...headers, ...request.headers, ...credential.headers } : {}),
            'accept-encoding': 'identity',
          },
          signal,
        },
        this.#reach,
      ).catch((error: unknown) => {
        throw unreachable(error, signal);
      });
      if (answer.status < 300 || answer.status > 399 || answer.status === 304) return answer;
      answer.body.destroy();
      if (request.method !== 'GET' || redirects === undefined || hops >= redirects.maxCount) throw notFollowed();
      const next = redirected(new URL(path, origin), answer.headers.location);
      if (next.origin !== this.#origin.origin && !redirects.origins.includes(next.origin)) throw notFollowed();
      origin = new URL(next.origin);
      path = `${next.pathname}${next.search}`;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function redirected(from: URL, location: string | undefined): URL {
  if (location === undefined || !URL.canParse(location, from.href)) throw notFollowed();
  const next = new URL(location, from);
  if (next.username !== '' || next.password !== '') throw notFollowed();
  return next;
}

function withQuery(path: string, query: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}${query}`;
}

/** Where it leads stays on the host: it may hold what only the operator should see. */
function notFollowed(): BulkheadError {
  return new BulkheadError('tool_failed', 'The service redirects to where this tool does not follow.', {
    hint: 'An operator can allow it in the settings of the tool.',
  });
}
