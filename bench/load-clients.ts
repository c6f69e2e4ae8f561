// The clients of `bench load`: each creates a session, runs turns in it, moves a file and ends it, again and again. Every tenant has a word that no other
// may ever read: it is in what its sessions are told, in its files, in its labels, and every answer is searched for the words of the others.

import { randomUUID } from 'node:crypto';
import { Agent, request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type ErrorCode, type Problem, problemSchema } from '@bulkhead/protocol';

/** Answers that say that there is no more to be had now: what a client under load has to expect. */
const typedLimits: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'rate_limited',
  'quota_exceeded',
  'capacity_exhausted',
  'launch_timeout',
  'too_many_connections',
]);
const turnsPerSession = 3;
const fileBytes = 200_000;
/** A client that has no answer for so long has been forgotten. */
const answerMaxMs = 60_000;
const healthEveryMs = 250;
/** So many of the lines about one kind of thing are told. */
const toldMaxCount = 10;

export const steps = ['create', 'turn', 'upload', 'download', 'list', 'terminate'] as const;
export type Step = (typeof steps)[number];

export interface LoadTenant {
  readonly key: string;
  /** The word that no other tenant may read. */
  readonly canary: string;
  /** Of its sessions: the one that was made last, for others to ask for. */
  session: string | undefined;
}

/** What so many clients at once were answered. */
export interface Tally {
  readonly clients: number;
  readonly seconds: number;
  /** Milliseconds from a client's first request to the answer that it wanted, what it was told to wait included. */
  readonly times: Readonly<Record<Step, number[]>>;
  /** Turns that succeeded before the time was over, of each tenant. */
  readonly turns: Map<LoadTenant, number>;
  /** How often each limit was answered, and the longest `Retry-After` with it, in seconds. */
  readonly limits: Map<ErrorCode, { count: number; retryAfterMaxSeconds: number }>;
  readonly health: number[];
  /** Sessions that clients had at once, at most. */
  sessionsMax: number;
  readonly problems: string[];
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly headers: string;
  readonly text: string;
}

interface Asked {
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

/** Ends a round that a client cannot go on with; what was wrong has been told. */
class RoundOver extends Error {}

export class LoadClients implements Disposable {
  readonly #url: string;
  readonly #tenants: readonly LoadTenant[];
  readonly #agent: Agent;
  readonly #healthAgent = new Agent({ keepAlive: true });

  constructor(url: string, tenants: readonly LoadTenant[], clients: number) {
    this.#url = url;
    this.#tenants = tenants;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 2 * clients });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
    this.#healthAgent.destroy();
  }

  /** So many clients for so long; whatever they began they end. */
  async run(clients: number, seconds: number, signal?: AbortSignal): Promise<Tally> {
    const tally: Tally = {
      clients,
      seconds,
      times: { create: [], turn: [], upload: [], download: [], list: [], terminate: [] },
      turns: new Map(this.#tenants.slice(0, clients).map((tenant) => [tenant, 0])),
      limits: new Map(),
      health: [],
      sessionsMax: 0,
      problems: [],
    };
    const untilMs = performance.now() + seconds * 1000;
    const lasting = new LoadRun({
      tally,
      untilMs,
      tenants: this.#tenants,
      send: (asked) => this.#send(asked),
      askHealth: () => this.#send({ key: '', method: 'GET', path: '/healthz' }, this.#healthAgent),
      signal,
    });
    const each = Array.from({ length: clients }, (_, index) => this.#tenants[index % this.#tenants.length]);
    await Promise.all([
      lasting.watchHealth(),
      ...each.map((tenant) => (tenant === undefined ? undefined : lasting.client(tenant))),
    ]);
    signal?.throwIfAborted();
    return tally;
  }

  async #send({ key, method, path, body }: Asked, agent: Agent = this.#agent): Promise<Answer> {
    const isBytes = body instanceof Uint8Array;
    const bytes = body === undefined ? undefined : isBytes ? body : Buffer.from(JSON.stringify(body));
    const headers = {
      ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
      ...(bytes === undefined
        ? {}
        : {
            'content-length': bytes.length,
            'content-type': isBytes ? 'application/octet-stream' : 'application/json',
          }),
    };
    const got = Promise.withResolvers<Answer>();
    const sent = httpRequest(this.#url + path, { method, agent, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => void parts.push(part)).on('error', got.reject);
      response.on('end', () =>
        got.resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
          headers: response.rawHeaders.join('\n'),
          text: Buffer.concat(parts).toString('latin1'),
        }),
      );
    });
    sent.setTimeout(answerMaxMs, () => sent.destroy(new Error(`no answer in ${answerMaxMs / 1000} s`)));
    sent.on('error', got.reject);
    sent.end(bytes);
    return await got.promise;
  }
}

interface LoadRunOptions {
  readonly tally: Tally;
  readonly untilMs: number;
  readonly tenants: readonly LoadTenant[];
  readonly send: (asked: Asked) => Promise<Answer>;
  /** On a connection of its own. */
  readonly askHealth: () => Promise<Answer>;
  readonly signal: AbortSignal | undefined;
}

class LoadRun {
  readonly #options: LoadRunOptions;
  #sessions = 0;

  constructor(options: LoadRunOptions) {
    this.#options = options;
  }

  async client(tenant: LoadTenant): Promise<void> {
    while (this.#lasts) {
      try {
        await this.#round(tenant);
      } catch (error) {
        if (error instanceof RoundOver) continue;
        tell(this.#options.tally, `connection: ${String(error)}`);
        await delay(1000);
      }
    }
  }

  /** As a load balancer asks. */
  async watchHealth(): Promise<void> {
    const { tally, askHealth } = this.#options;
    while (this.#lasts) {
      const started = performance.now();
      try {
        const { status } = await askHealth();
        tally.health.push(performance.now() - started);
        if (status !== 200) tell(tally, `health: ${status}`);
      } catch (error) {
        tell(tally, `health: ${String(error)}`);
      }
      await delay(healthEveryMs);
    }
  }

  get #lasts(): boolean {
    return performance.now() < this.#options.untilMs && this.#options.signal?.aborted !== true;
  }

  async #round(tenant: LoadTenant): Promise<void> {
    const { tally } = this.#options;
    const { canary, key } = tenant;
    const created = await this.#step('create', tenant, 'POST', '/v1/sessions', { labels: { canary } });
    const session = `/v1/sessions/${idOf(created)}`;
    this.#sessions += 1;
    tally.sessionsMax = Math.max(tally.sessionsMax, this.#sessions);
    tenant.session = session;
    try {
      for (let turn = 0; turn < turnsPerSession && this.#lasts; turn += 1) {
        const code = `c = "${canary}"\nprint(c)`;
        const text = await this.#step('turn', tenant, 'POST', `${session}/turns`, { code });
        if (!hasPrinted(text, canary)) tell(tally, `turn: it did not print its own word: ${text}`);
        else if (this.#lasts) tally.turns.set(tenant, (tally.turns.get(tenant) ?? 0) + 1);
      }
      if (!this.#lasts) return;
      const content = Buffer.alloc(fileBytes, canary);
      const file = `${session}/files/content?path=canary.bin`;
      await this.#step('upload', tenant, 'PUT', file, content);
      const downloaded = await this.#step('download', tenant, 'GET', file);
      if (downloaded !== content.toString('latin1')) tell(tally, 'download: another file');
      await this.#step('list', tenant, 'GET', '/v1/sessions?limit=20');
      await this.#trespass(key);
    } finally {
      await this.#step('terminate', tenant, 'DELETE', session);
      this.#sessions -= 1;
    }
  }

  /** What another tenant has does not exist. */
  async #trespass(key: string): Promise<void> {
    const { tally, tenants, send } = this.#options;
    const path = tenants.find((other) => other.key !== key && other.session !== undefined)?.session;
    if (path === undefined) return;
    const { status, text } = await send({ key, method: 'GET', path });
    if (status !== 404 && toProblem(text)?.code !== 'rate_limited')
      tell(tally, `another tenant's session: ${status} ${text}`);
  }

  /** Asks until it is answered, as often and as late as the server says; what is asked for the end of a session is asked for beyond the time. */
  async #step(name: Step, tenant: LoadTenant, method: string, path: string, body?: unknown): Promise<string> {
    const { tally, send } = this.#options;
    const started = performance.now();
    for (;;) {
      const { status, retryAfter, headers, text } = await send({ key: tenant.key, method, path, body });
      this.#searchForOthers(name, tenant, headers, text);
      if (status < 300) {
        tally.times[name].push(performance.now() - started);
        return text;
      }
      const code = toProblem(text)?.code;
      const waitSeconds = Number(retryAfter);
      if (code === undefined || !typedLimits.has(code)) tell(tally, `${name}: ${status} ${text}`);
      else if (!(waitSeconds > 0)) tell(tally, `${name}: ${code} without Retry-After`);
      else {
        const known = tally.limits.get(code) ?? { count: 0, retryAfterMaxSeconds: 0 };
        known.count += 1;
        known.retryAfterMaxSeconds = Math.max(known.retryAfterMaxSeconds, waitSeconds);
        tally.limits.set(code, known);
        const waitMs = waitSeconds * 1000;
        if (name === 'terminate' || performance.now() + waitMs < this.#options.untilMs) {
          await delay(waitMs);
          continue;
        }
        await delay(Math.max(0, this.#options.untilMs - performance.now()));
      }
      throw new RoundOver(name);
    }
  }

  #searchForOthers(name: string, { key }: LoadTenant, headers: string, text: string): void {
    for (const other of this.#options.tenants) {
      if (other.key === key || !(text.includes(other.canary) || headers.includes(other.canary))) continue;
      tell(this.#options.tally, `${name}: the word of another tenant`);
    }
  }
}

function tell({ problems }: Tally, line: string): void {
  const [kind] = line.split(':');
  if (problems.filter((told) => told.startsWith(`${kind}:`)).length < toldMaxCount) problems.push(line.slice(0, 400));
}

function toProblem(text: string): Problem | undefined {
  try {
    return problemSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Tenants of their own, each with a key and a word. `key` is one that may make them. */
export async function makeLoadTenants(url: string, key: string, count: number): Promise<readonly LoadTenant[]> {
  const post = async (path: string, body: unknown): Promise<Readonly<Record<string, unknown>>> => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every answer of the server is an object
    if (response.ok) return (await response.json()) as Record<string, unknown>;
    throw new Error(`a tenant could not be made: ${await response.text()}`);
  };
  const made: LoadTenant[] = [];
  for (let index = 0; index < count; index += 1) {
    const { id } = await post('/v1/tenants', { name: `load-${index}` });
    const { secret } = await post(`/v1/tenants/${String(id)}/keys`, { name: 'load', role: 'developer' });
    made.push({ key: String(secret), canary: `canary-${randomUUID()}`, session: undefined });
  }
  return made;
}

/** The code has the word too. */
function hasPrinted(text: string, canary: string): boolean {
  return text.includes(`"stdout":"${canary}\\n"`);
}

function idOf(text: string): string {
  const parsed: unknown = JSON.parse(text);
  const id: unknown = typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, 'id') : undefined;
  if (typeof id === 'string') return id;
  throw new Error(`there is no id in ${text.slice(0, 200)}`);
}
