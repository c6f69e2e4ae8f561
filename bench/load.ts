// Load on a server, from a second process on loopback: so many clients of so many tenants create sessions, run turns, move files and end them, for a
// while. Each tenant has a word that no other may ever read: it is in what its sessions are told, in its files, in its labels, and every answer is
// searched for the words of the others.
//
//   node --conditions=bulkhead-source bench/load.ts --server PID --url http://127.0.0.1:8420 --key bh_… [--clients 64] [--tenants 10] [--seconds 60]

import { readFile } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type ErrorCode, type Problem, problemSchema } from '@bulkhead/protocol';

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8420' },
    key: { type: 'string', default: '' },
    server: { type: 'string', default: '' },
    clients: { type: 'string', default: '64' },
    tenants: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '60' },
  },
});
const { url, key: adminKey, server } = values;
const [clientCount, tenantCount, seconds] = [Number(values.clients), Number(values.tenants), Number(values.seconds)];

/** Answers that say that there is no more to be had now: what a client under load has to expect. */
const typedLimits: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'rate_limited',
  'quota_exceeded',
  'capacity_exhausted',
  'launch_timeout',
  'too_many_connections',
]);

interface Tenant {
  readonly key: string;
  readonly canary: string;
}
interface Answer {
  readonly status: number;
  readonly text: string;
}

const agent = new Agent({ keepAlive: true, maxSockets: 2 * clientCount });
const times = new Map<string, number[]>();
const limited = new Map<string, number>();
const unexpected: string[] = [];
const leaks: string[] = [];
const canaries = new Map<string, string>();
let answered = 0;

async function send(key: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const isBytes = body instanceof Uint8Array;
  const bytes = body === undefined ? undefined : isBytes ? body : Buffer.from(JSON.stringify(body));
  const got = Promise.withResolvers<Answer>();
  const sent = httpRequest(
    url + path,
    {
      method,
      agent,
      headers: {
        authorization: `Bearer ${key}`,
        ...(bytes === undefined
          ? {}
          : {
              'content-length': bytes.length,
              'content-type': isBytes ? 'application/octet-stream' : 'application/json',
            }),
      },
    },
    (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => void parts.push(part)).on('error', got.reject);
      response.on('end', () =>
        got.resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('latin1') }),
      );
    },
  );
  sent.on('error', got.reject);
  sent.end(bytes);
  return await got.promise;
}

class Refused extends Error {}

/** Times what succeeds; what is refused by a limit ends the round. */
async function step(name: string, tenant: Tenant, method: string, path: string, body?: unknown): Promise<string> {
  const started = performance.now();
  const { status, text } = await send(tenant.key, method, path, body);
  const ms = performance.now() - started;
  answered += 1;
  for (const [canary, owner] of canaries)
    if (owner !== tenant.key && text.includes(canary)) leaks.push(`${name}: ${canary}`);
  if (status < 300) {
    const list = times.get(name) ?? [];
    list.push(ms);
    times.set(name, list);
    return text;
  }
  const problem = toProblem(text);
  if (problem === undefined || !typedLimits.has(problem.code))
    unexpected.push(`${name}: ${status} ${text.slice(0, 300)}`);
  else limited.set(problem.code, (limited.get(problem.code) ?? 0) + 1);
  throw new Refused(problem?.code ?? 'unknown');
}

function toProblem(text: string): Problem | undefined {
  try {
    return problemSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function memberOf(text: string, name: string): string {
  const parsed: unknown = JSON.parse(text);
  const found: unknown = typeof parsed === 'object' && parsed !== null ? Reflect.get(parsed, name) : undefined;
  if (typeof found === 'string') return found;
  throw new Error(`there is no ${name} in ${text.slice(0, 200)}`);
}

async function round(tenant: Tenant): Promise<void> {
  const { canary } = tenant;
  const id = memberOf(await step('create', tenant, 'POST', '/v1/sessions', { labels: { canary } }), 'id');
  const session = `/v1/sessions/${id}`;
  try {
    for (let turn = 0; turn < 3; turn += 1) {
      const text = await step('turn', tenant, 'POST', `${session}/turns`, { code: `c = "${canary}"\nprint(c)` });
      if (!text.includes(canary)) unexpected.push(`turn: its own word is not there: ${text.slice(0, 200)}`);
    }
    const content = Buffer.alloc(200_000, canary);
    const file = `${session}/files/content?path=canary.bin`;
    await step('upload', tenant, 'PUT', file, content);
    if ((await step('download', tenant, 'GET', file)) !== content.toString('latin1'))
      unexpected.push('download: another file');
    await step('list', tenant, 'GET', '/v1/sessions?limit=20');
  } finally {
    await step('terminate', tenant, 'DELETE', session).catch(() => undefined);
  }
}

async function client(tenant: Tenant, until: number): Promise<void> {
  while (performance.now() < until) {
    try {
      await round(tenant);
    } catch (error) {
      if (!(error instanceof Refused)) unexpected.push(`connection: ${String(error)}`);
      await delay(200);
    }
  }
}

async function makeTenant(index: number): Promise<Tenant> {
  const made = await send(adminKey, 'POST', '/v1/tenants', { name: `load-${index}-${Date.now()}` });
  const id = memberOf(made.text, 'id');
  const issued = await send(adminKey, 'POST', `/v1/tenants/${id}/keys`, { name: 'load', role: 'developer' });
  const secret = memberOf(issued.text, 'secret');
  const canary = `canary-${randomUUID()}`;
  canaries.set(canary, secret);
  return { key: secret, canary };
}

async function residentMib(): Promise<number> {
  const status = await readFile(`/proc/${server}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

function quantile(sorted: readonly number[], q: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN).toFixed(1);
}

const tenants = await Promise.all(Array.from({ length: tenantCount }, (_, index) => makeTenant(index)));
const started = performance.now();
const until = started + seconds * 1000;
const memory: number[] = [];
const sampling = (async (): Promise<void> => {
  if (server === '') return;
  while (performance.now() < until) {
    memory.push(await residentMib());
    await delay(1000);
  }
})();
const perTenant = Math.ceil(clientCount / tenantCount);
const clients = tenants.flatMap((tenant) => Array.from({ length: perTenant }, () => tenant)).slice(0, clientCount);
await Promise.all(clients.map((tenant) => client(tenant, until)));
await sampling;

const took = (performance.now() - started) / 1000;
console.log(
  `${clientCount} clients, ${tenantCount} tenants, ${took.toFixed(0)} s: ${answered} answers, ${(answered / took).toFixed(0)} a second`,
);
for (const [name, list] of times) {
  const sorted = list.toSorted((a, b) => a - b);
  console.log(
    `  ${name.padEnd(10)} ${String(list.length).padStart(6)}  p50 ${quantile(sorted, 0.5)} ms  p99 ${quantile(sorted, 0.99)} ms`,
  );
}
console.log(`limits: ${JSON.stringify(Object.fromEntries(limited))}`);
if (memory.length > 1) {
  const half = memory.slice(memory.length / 2);
  const [first = 0, last = 0] = [half[0], half.at(-1)];
  console.log(`server memory, MiB, every second: ${memory.map((mib) => mib.toFixed(0)).join(' ')}`);
  console.log(
    `over the second half: from ${first.toFixed(0)} to ${last.toFixed(0)} MiB, most ${Math.max(...half).toFixed(0)}`,
  );
}
console.log(`${unexpected.length} unexpected answers, ${leaks.length} words of another tenant`);
for (const line of [...unexpected.slice(0, 10), ...leaks.slice(0, 10)]) console.log(`  ${line}`);
process.exit(unexpected.length + leaks.length === 0 ? 0 : 1);
