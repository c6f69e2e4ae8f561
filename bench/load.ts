// `bench load`: so many clients of so many tenants on a server of their own, from a second process on loopback, for a while. Before them one client
// alone, and before and after them eight, for a quarter of the time each: more clients may wait longer, and together they must not get less. What was
// answered that should not have been, memory that grows and whatever is left afterwards are findings, and the command fails with them.

import { type Served, startServed } from './served.ts';
import { LoadClients, type LoadTenant, type Step, type Tally, makeLoadTenants, steps } from './load-clients.ts';
import { type BenchmarkOptions, type BenchmarkReport, type Summary, compare, measuredOn, summarize } from './report.ts';

const fewClients = [1, 8];
const few = 8;
/** Together so many clients may get less than eight by so much before it is a finding: the rest is what differs between two runs. */
const collapseRatio = 0.75;
/** Turns of less than so many seconds say nothing about it. */
const collapseMinSeconds = 3;
const phaseMinSeconds = 0.5;
/** Of a second half of so many seconds and more it is told whether memory grew. */
const flatMinSeconds = 30;
const flatMaxGrowthMib = 32;
/** Health checks of load balancers give up after as long. */
const healthMaxMs = 5000;

type Beside = Summary & { readonly unit: string; readonly clock: string };

export async function run(options: BenchmarkOptions): Promise<BenchmarkReport> {
  const { bulkhead, onProgress, signal, load } = options;
  await using server = await startServed(bulkhead.config, onProgress);
  await bulkhead.runtime.prove?.();
  const tenants = await makeLoadTenants(server.url, server.key, load.tenants);
  using clients = new LoadClients(server.url, tenants, load.clients);
  const tallies: Tally[] = [];
  const phase = async (count: number, seconds: number): Promise<Tally> => {
    onProgress(`${count} clients, ${Math.min(count, tenants.length)} tenants, ${seconds} s`);
    const tally = await clients.run(count, seconds, signal);
    tallies.push(tally);
    return tally;
  };
  const fewSeconds = Math.max(phaseMinSeconds, load.seconds / 4);
  for (const count of fewClients) if (count < load.clients) await phase(count, fewSeconds);
  const fewer = [...tallies];
  const startedAtMs = performance.now();
  const ours = await phase(load.clients, load.seconds);
  // What else a host does comes and goes.
  const after = few < load.clients ? await phase(few, fewSeconds) : undefined;
  const samples = server.samples.filter(({ atMs }) => atMs >= startedAtMs && atMs <= startedAtMs + load.seconds * 1000);
  onProgress('stopping the server, and looking for what is left of it');
  const left = await server.stop(bulkhead.runtime);
  const clock =
    "the client's time from its first request to the answer that it wanted, waits that it was told included";
  const turn = summarize(ours.times.turn);
  return {
    benchmark: 'load',
    unit: 'ms',
    clock: `${ours.clients} clients: ${clock}, for a turn`,
    ...turn,
    ...measuredOn(options),
    also: {
      ...Object.fromEntries(
        others.map((step) => [step, { ...summarize(ours.times[step]), unit: 'ms', clock: 'the same' }]),
      ),
      health: {
        ...summarize(ours.health),
        unit: 'ms',
        clock: 'meanwhile, four times a second: GET /healthz to its answer',
      },
      ...Object.fromEntries([...fewer, ours].map((tally) => [`turns of ${tally.clients}`, goodput(tally)])),
      ...(after === undefined ? {} : { [`turns of ${few} afterwards`]: goodput(after) }),
      ...fairness(ours),
      ...limitsOf(ours),
      ...memoryOf(samples),
      ...processorOf(samples),
      sessions: { ...summarize([ours.sessionsMax]), unit: '', clock: 'that clients had at once, at most' },
    },
    baselines: Object.fromEntries(
      fewer.map((tally) => [`a turn of ${tally.clients}`, compare(turn, tally.times.turn)]),
    ),
    findings: [
      ...tallies.flatMap(({ clients: count, problems }) => problems.map((problem) => `${count} clients: ${problem}`)),
      ...findings(ours),
      ...collapse(
        ours,
        tallies.filter((tally) => tally.clients === few && tally !== ours),
      ),
      ...growth(samples, load.seconds),
      ...server.broken.map((line) => `the server's log: ${line.slice(0, 400)}`),
      ...left.map((what) => `left behind: ${what}`),
    ],
  };
}

const others: readonly Step[] = steps.filter((step) => step !== 'turn');

function turnsOf({ turns }: Tally): number {
  return [...turns.values()].reduce((sum, count) => sum + count, 0);
}

function goodput(tally: Tally): Beside {
  const perSecond = turnsOf(tally) / tally.seconds;
  return {
    ...summarize([perSecond]),
    unit: '/s',
    clock: `turns that succeeded, all of ${tally.clients} clients together`,
  };
}

/** Of a client: tenants may have one more than others. */
function fairness(tally: Tally): Readonly<Record<string, Beside>> {
  const tenants = [...tally.turns.keys()];
  const clientsOf = (_: LoadTenant, index: number): number =>
    Math.floor(tally.clients / tenants.length) + (index < tally.clients % tenants.length ? 1 : 0);
  const perClient = tenants.map((tenant, index) => (tally.turns.get(tenant) ?? 0) / clientsOf(tenant, index));
  const clock = 'turns of each client of the tenant that had';
  return {
    'least served': { ...summarize([Math.min(...perClient)]), unit: '', clock: `${clock} fewest` },
    'best served': { ...summarize([Math.max(...perClient)]), unit: '', clock: `${clock} most` },
  };
}

function limitsOf({ limits }: Tally): Readonly<Record<string, Beside>> {
  return Object.fromEntries(
    [...limits].map(([code, { count, retryAfterMaxSeconds }]) => [
      code,
      {
        ...summarize([count]),
        unit: '',
        clock: `answers, each with Retry-After, of ${retryAfterMaxSeconds} s at most`,
      },
    ]),
  );
}

function memoryOf(samples: Served['samples']): Readonly<Record<string, Beside>> {
  const each = 'once a second';
  return {
    memory: {
      ...summarize(samples.map(({ residentMib }) => residentMib)),
      unit: 'MiB',
      clock: `the server's process, ${each}`,
    },
    ...Object.fromEntries(
      lastQuarters(samples).map((quarter, index) => [
        `memory, quarter ${3 + index}`,
        { ...quarter, unit: 'MiB', clock: 'the same, in that quarter of the time' },
      ]),
    ),
    'template copies': {
      ...summarize(samples.map(({ templateCopies }) => templateCopies)),
      unit: '',
      clock: `that the server holds, one a tenant, ${each}`,
    },
    descriptors: {
      ...summarize(samples.map(({ descriptors }) => descriptors)),
      unit: '',
      clock: `that it has open, ${each}`,
    },
  };
}

function processorOf(samples: Served['samples']): Readonly<Record<string, Beside>> {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || first === last) return {};
  const share = (100 * (last.processorMs - first.processorMs)) / (last.atMs - first.atMs);
  return { processor: { ...summarize([share]), unit: '%', clock: "of one, that the server's process took" } };
}

/** Whether many clients together get less than few do, and not only because the host had other work meanwhile. */
function collapse(ours: Tally, eights: readonly Tally[]): readonly string[] {
  if (eights.length === 0 || eights.some(({ seconds }) => seconds < collapseMinSeconds)) return [];
  const [many, least] = [
    turnsOf(ours) / ours.seconds,
    Math.min(...eights.map((tally) => turnsOf(tally) / tally.seconds)),
  ];
  if (many >= collapseRatio * least) return [];
  return [
    `${ours.clients} clients together have ${many.toFixed(1)} turns a second, ${eights[0]?.clients} have ${least.toFixed(1)}`,
  ];
}

function findings(ours: Tally): readonly string[] {
  const found: string[] = [];
  const slowest = Math.max(...ours.health);
  if (slowest > healthMaxMs) found.push(`GET /healthz took ${slowest.toFixed(0)} ms`);
  for (const step of steps) if (ours.times[step].length === 0) found.push(`no ${step} succeeded`);
  if ([...ours.turns.values()].includes(0)) found.push('a tenant had no turn at all');
  return found;
}

/** Whether what the process has grew over the second half: the last quarter beside the third. */
function growth(samples: Served['samples'], seconds: number): readonly string[] {
  if (seconds / 2 < flatMinSeconds) return [];
  const [third, last] = lastQuarters(samples).map(({ median }) => median);
  if (third === undefined || last === undefined) return [];
  if (last - third <= flatMaxGrowthMib) return [];
  return [`the server's memory grew over the second half, from ${third.toFixed(0)} to ${last.toFixed(0)} MiB`];
}

/** Memory in the third quarter of the time, and in the last. */
function lastQuarters(samples: Served['samples']): readonly Summary[] {
  const quarter = Math.floor(samples.length / 4);
  if (quarter === 0) return [];
  const parts = [samples.slice(2 * quarter, 3 * quarter), samples.slice(3 * quarter)];
  return parts.map((part) => summarize(part.map(({ residentMib }) => residentMib)));
}
