// Two tenants, their data in one database, one bucket and one service; sessions that do their work with it, and one that is hostile. `script/demo-authority
// [--json]` runs it on machines of this host and checks itself: exit code 1 when it does not hold.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bulkhead, type OwnedSession, type ToolSettingsRequest } from '@bulkhead/sdk';
import { type Attempt, attempts, preamble } from './attempts.ts';
import { searchMachine, searchTree } from './search.ts';
import { startServer } from './server.ts';
import { type TenantName, type World, openWorld, tenantNames } from './world.ts';

const here = import.meta.dirname;
const reference = join(here, '../monte-carlo-var/turns');
const turnFiles = [
  join(here, 'turns/1-load.py'),
  join(reference, '2-calibrate.py'),
  join(reference, '3-simulate.py'),
  join(here, 'turns/4-report.py'),
];
const refusalsMin = 25;
const { values: flags } = parseArgs({ options: { json: { type: 'boolean', default: false } } });

function say(line: string): void {
  if (!flags.json) console.log(line);
}

const onProgress = (message: string): void => console.error(message);
const mib = (bytes: number): string => (bytes / 1_048_576).toFixed(0);

/** A tenant, with a key for its agents and one for whoever looks after it. */
interface Tenant {
  readonly name: TenantName;
  readonly id: string;
  readonly agent: Bulkhead;
  readonly admin: Bulkhead;
}

interface Tried {
  readonly what: string;
  /** `harmless`: it was carried out and brought nothing; otherwise how it was refused. */
  readonly end: string;
  readonly decisions: readonly string[];
  readonly holds: boolean;
}

function toolsOf(name: TenantName, world: World): Readonly<Record<string, ToolSettingsRequest>> {
  const loopback = ['127.0.0.1/32'];
  return {
    positions: {
      kind: 'sql',
      description: 'positions of the portfolio',
      host: world.postgresHost,
      database: 'portfolio',
      user: name,
      queries: {
        held: {
          description: 'all that is held',
          sql: 'SELECT index, units, multiplier, currency_rate FROM positions ORDER BY index',
          parameters: {},
        },
      },
      freeQueries: true,
      timeoutMs: 3000,
      rowsMaxCount: 1000,
    },
    prices: {
      kind: 's3',
      description: 'prices, and reports about them',
      endpoint: world.objects.url,
      pathStyle: true,
      bucket: world.bucket,
      prefix: name,
      operations: ['get', 'list', 'put', 'delete', 'presign'],
      credentials: {
        source: 'assume_role',
        roleArn: world.objects.roleArn,
        endpoint: world.objects.url,
        identity: { accessKeyId: world.objects.accessKeyId, secretAccessKey: 'objects' },
      },
    },
    market: {
      kind: 'http',
      description: 'quotes of the market',
      origin: world.market,
      addresses: loopback,
      credential: { in: 'bearer', secret: 'market' },
      operations: {
        quote: {
          description: 'the last price',
          method: 'GET',
          path: '/v1/quotes/{symbol}',
          parameters: { symbol: { in: 'path', kind: 'name', description: 'which' } },
        },
        order: {
          description: 'an order',
          method: 'POST',
          path: '/v1/orders',
          parameters: {
            symbol: { in: 'field', kind: 'name', description: 'which' },
            quantity: { in: 'field', kind: 'integer', description: 'how many' },
          },
        },
      },
    },
    feed: { kind: 'egress', description: 'a feed of prices', hosts: ['feed.prices.invalid'] },
  };
}

const grant = [
  'positions.held',
  'positions.query',
  'prices.get',
  'prices.list',
  'prices.put',
  'market.*',
  'feed.connect',
] as const;

async function setUp(installation: Bulkhead, url: string, name: TenantName, world: World): Promise<Tenant> {
  const { id } = await installation.tenants.create({ name });
  const authority = installation.tenants.authority(id);
  await authority.setSecret('market', world.planted[name].marketKey);
  await authority.setSecret('objects', world.objects.secretAccessKey);
  for (const [tool, settings] of Object.entries(toolsOf(name, world))) await authority.setTool(tool, settings);
  await authority.setPolicies(readFileSync(join(here, 'policies.cedar'), 'utf8'));
  const keys = installation.tenants.keys(id);
  const client = async (role: 'developer' | 'admin'): Promise<Bulkhead> =>
    new Bulkhead({ url, apiKey: (await keys.create({ name: role, role, subject: `${name}-${role}` })).secret });
  return { name, id, agent: await client('developer'), admin: await client('admin') };
}

/** The work that sessions are for; what they print. */
async function work(session: OwnedSession): Promise<string> {
  let printed = '';
  for (const file of turnFiles) printed += (await session.run(readFileSync(file, 'utf8'))).check().stdout;
  return printed;
}

async function attack(
  tenant: Tenant,
  session: OwnedSession,
): Promise<readonly (Tried & { readonly output: string })[]> {
  (await session.run(preamble)).check();
  const seen = new Set<string>();
  const newDecisions = async (): Promise<{ id: string; outcome: string; error: string | null }[]> => {
    const found = [];
    for await (const decision of tenant.admin.decisions.list({ session: session.id })) {
      if (seen.has(decision.id)) break;
      found.push(decision);
    }
    for (const { id } of found) seen.add(id);
    return found;
  };
  await newDecisions();
  const tried = [];
  for (const { what, code, harmless } of attempts satisfies readonly Attempt[]) {
    const { stdout, stderr, error } = await session.run(code, { timeoutMs: 60_000 });
    const output = `${stdout}${stderr}${error?.message ?? ''}`;
    const decided = await newDecisions();
    const isRefused = decided.length > 0 && decided.every((each) => each.outcome === 'deny' || each.error !== null);
    const holds =
      harmless === true ? output.startsWith('GOT') && decided.length > 0 : isRefused && output.startsWith('REFUSED');
    const end = harmless === true ? 'harmless' : decided.map((each) => each.error ?? each.outcome).join(' ');
    tried.push({ what, end, decisions: decided.map(({ id }) => id), holds, output });
  }
  return tried;
}

async function main(): Promise<void> {
  const started = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-two-tenants-'));
  await using cleaning = new AsyncDisposableStack();
  cleaning.defer(() => rmSync(folder, { recursive: true, force: true }));
  const world = cleaning.use(await openWorld(folder, onProgress));
  const server = cleaning.use(await startServer(join(folder, 'bulkhead'), onProgress));
  const installation = new Bulkhead({ url: server.url, apiKey: server.key });
  const tenants = {
    acme: await setUp(installation, server.url, 'acme', world),
    globex: await setUp(installation, server.url, 'globex', world),
  };
  const sessions = { acme: await open(tenants.acme), globex: await open(tenants.globex) };
  cleaning.use(sessions.acme);
  cleaning.use(sessions.globex);
  const { runtime, tier } = sessions.acme.info;
  say(`two sessions on ${runtime}, tier ${tier}`);

  const printed: string[] = [];
  for (const name of tenantNames) {
    const output = await work(sessions[name]);
    printed.push(output);
    say(`\n${name}\n${output.trimEnd().replaceAll(/^/gm, '  ')}`);
  }
  const [acme, globex] = [world.planted.acme, world.planted.globex];
  // What acme may see it is shown, so that the search below has something to find.
  await sessions.acme.run('kept = tools.prices.get(key="notes.txt").text()');

  say(`\nacme's session turns hostile`);
  const tried = await attack(tenants.acme, sessions.acme);
  for (const { what, end, decisions, holds } of tried)
    say(`  ${holds ? 'ok    ' : 'FAILED'} ${what}: ${end} (${decisions.join(', ') || 'no record'})`);

  const secrets = [acme.marketKey, globex.marketKey, world.objects.secretAccessKey];
  const absent = [...secrets, globex.canary];
  const isRoot = process.geteuid?.() === 0;
  const machine = isRoot ? searchMachine(sessions.acme.id, [...absent, acme.canary]) : undefined;
  // Asleep, so that its snapshot is among the files.
  await sessions.acme.suspend();
  const found = [
    ...(machine?.findings.filter(({ word }) => word !== acme.canary) ?? []),
    ...searchTree(join(folder, 'bulkhead'), [...absent, acme.canary]),
  ];
  say(
    machine === undefined
      ? '\nMemory and disk of the machine were not searched: only root can.'
      : `\nsearched ${mib(machine.memoryBytes)} MiB of memory and ${mib(machine.diskBytes)} MiB of disk of acme's machine, and all files of the server`,
  );
  for (const { word, where } of found) say(`  FOUND ${word} in ${where}`);

  const { same, changed } = await replayAll(tenants.acme, sessions.acme);
  say(`asked the policies of ${same + changed} recorded decisions again: ${changed} came out differently`);
  const said = [...printed, ...tried.map(({ output }) => output), server.said()].join('\n');
  const refusals = tried.filter(({ end, holds }) => holds && end !== 'harmless').length;
  const checks = {
    everyAttemptHolds: tried.every(({ holds }) => holds),
    enoughWereRefused: refusals >= refusalsMin,
    noOrderCame: world.orders() === 0,
    // What acme has read is there to be found: the search works.
    searchFinds:
      machine === undefined || machine.findings.some(({ word, where }) => word === acme.canary && where === 'memory'),
    nothingFound: found.length === 0,
    nothingSaid: absent.every((word) => !said.includes(word)),
    decisionsReplay: same > refusalsMin && changed === 0,
  };
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  say(`${refusals} attempts refused, ${tried.length - refusals} carried out for nothing; ${seconds} s`);
  if (flags.json) {
    const attempted = tried.map(({ what, end, decisions, holds }) => ({ what, end, decisions, holds }));
    console.log(
      JSON.stringify({ runtime, tier, attempts: attempted, searched: machine !== undefined, found, checks }, null, 2),
    );
  }
  const broken = Object.entries(checks).filter(([, holds]) => !holds);
  if (broken.length > 0) throw new Error(`It does not hold: ${broken.map(([name]) => name).join(', ')}`);
}

async function open({ agent, name }: Tenant): Promise<OwnedSession> {
  return await agent.sessions.create({ grant: [...grant], labels: { example: 'two-tenants', tenant: name } });
}

/** Every decision of a session, asked again of the policies that it names. */
async function replayAll({ admin, id }: Tenant, session: OwnedSession): Promise<{ same: number; changed: number }> {
  const found = { same: 0, changed: 0 };
  for (let cursor: string | null | undefined; cursor !== null;) {
    const more = cursor === undefined ? {} : { cursor };
    const page = await admin.tenants.authority(id).replayDecisions({ session: session.id, ...more });
    found.same += page.compared - page.items.length;
    found.changed += page.items.length;
    cursor = page.nextCursor;
  }
  return found;
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
