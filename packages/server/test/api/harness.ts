// The whole service on the fake runtime and a PostgreSQL of its own, with clients of several kinds. Every answer is held to the table.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type KeyId, type Role, type Scope, type TenantId, roles, scopes } from '@bulkhead/protocol';
import { loadConfig } from '../../src/config/config.ts';
import { type RunningServer, startServer } from '../../src/index.ts';

export const everyScope: readonly Scope[] = scopes;

export interface Key {
  readonly tenant: TenantId;
  readonly id: KeyId;
  readonly secret: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Undefined when it is not JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any -- looked at member by member, and held to the table by the server
  readonly json: any;
}

export interface Asked {
  readonly key?: string | undefined;
  /** An object is sent as JSON; text and bytes as they are. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface TestService extends AsyncDisposable {
  readonly server: RunningServer;
  readonly url: string;
  /** Of the first tenant, with every scope. */
  readonly admin: Key;
  readonly lines: readonly string[];
  call(method: string, path: string, asked?: Asked): Promise<Answer>;
  open(method: string, path: string, asked?: Asked): Promise<Response>;
  makeTenant(name: string): Promise<TenantId>;
  makeKey(
    tenant: TenantId,
    key: { readonly role?: Role; readonly scopes?: readonly Scope[]; readonly subject?: string },
  ): Promise<Key>;
}

export interface ServiceOptions {
  readonly environment?: Readonly<Record<string, string>>;
}

let names = 0;

export async function startService({ environment = {} }: ServiceOptions = {}): Promise<TestService> {
  await using opening = new AsyncDisposableStack();
  const root = mkdtempSync(join(tmpdir(), 'bulkhead-api-'));
  opening.defer(() => rmSync(root, { recursive: true }));
  const config = loadConfig({
    HOME: root,
    BULKHEAD_RUNTIME: 'fake',
    BULKHEAD_ALLOW_FAKE: '1',
    BULKHEAD_PORT: '0',
    BULKHEAD_QUOTA_REQUESTS_PER_SECOND: 'unlimited',
    BULKHEAD_DRAIN_SECONDS: '0',
    BULKHEAD_LOG_LEVEL: 'debug',
    ...environment,
  });
  const lines: string[] = [];
  const log = { write: (line: string) => void lines.push(line) };
  const server = opening.use(await startServer(config, { version: '0.0.0', checkAnswers: true, log }));
  if (server.first === undefined) throw new Error('a first start makes a key');
  const { key, secret } = server.first;
  const admin = { tenant: key.tenant, id: key.id, secret };
  const opened = opening.move();
  const open: TestService['open'] = (method, path, asked = {}) => ask(server.url, method, path, asked);
  const call: TestService['call'] = async (method, path, asked) => await toAnswer(await open(method, path, asked));
  return {
    server,
    url: server.url,
    admin,
    lines,
    open,
    call,
    makeTenant: async (name) => {
      const made = await call('POST', '/v1/tenants', { key: secret, body: { name: `${name}-${(names += 1)}` } });
      return expectStatus(made, 201).id;
    },
    makeKey: async (tenant, { role, scopes: asked, subject }) => {
      const body = {
        name: 'test',
        scopes: asked ?? roles[role ?? 'developer'],
        ...(subject === undefined ? {} : { subject }),
      };
      const made = expectStatus(await call('POST', `/v1/tenants/${tenant}/keys`, { key: secret, body }), 201);
      return { tenant, id: made.id, secret: made.secret };
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export async function ask(url: string, method: string, path: string, asked: Asked = {}): Promise<Response> {
  const { key, body, headers = {}, signal } = asked;
  const isPlain = typeof body === 'object' && !(body instanceof Uint8Array);
  return await fetch(url + path, {
    method,
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(isPlain ? { 'content-type': 'application/json' } : {}),
      ...headers,
    },
    ...(body === undefined
      ? {}
      : { body: isPlain ? JSON.stringify(body) : (body as string | Uint8Array<ArrayBuffer>) }),
    ...(signal === undefined ? {} : { signal }),
  });
}

export async function toAnswer(response: Response): Promise<Answer> {
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}

// oxlint-disable-next-line typescript/no-explicit-any -- as `Answer.json`
export function expectStatus(answer: Answer, status: number): any {
  if (answer.status !== status) throw new Error(`expected ${status}, got ${answer.status}: ${answer.text}`);
  return answer.json;
}

/** A problem without what is different in every answer. */
export function bytesOf({ text }: Answer): string {
  return text.replace(/"requestId":"[^"]*"/, '"requestId":""');
}

/** Waits for a condition. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, deadlineMs = 10_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
