// The reference case, end to end, on a real machine: `script/demo [--out FILE] [--size small] [--runtime RUNTIME] [--json]`. Checks itself: exit code 1 when it does not hold.

import { createReadStream, createWriteStream, readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import {
  BulkheadError,
  type RuntimeName,
  type SizeName,
  type TurnResult,
  errorEntry,
  makeId,
  runtimeNames,
  sizeNames,
} from '@bulkhead/protocol';
import { type SessionHandle, loadConfig, openBulkhead } from '@bulkhead/server';

const here = import.meta.dirname;
const root = join(here, '..', '..');
const toleranceRatio = 0.03;
const turnFiles = ['1-load.py', '2-calibrate.py', '3-simulate.py', '4-report.py'] as const;
const { values: flags } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'out', 'var-report.html') },
    size: { type: 'string', default: 'small' },
    runtime: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

function say(line: string): void {
  if (!flags.json) console.log(line);
}

function parseSize(text: string): SizeName {
  const size = sizeNames.find((name) => name === text);
  if (size === undefined)
    throw new BulkheadError('invalid_request', `There is no size ${text}: ${sizeNames.join(', ')}.`);
  return size;
}

function parseRuntime(text: string | undefined): RuntimeName | undefined {
  const runtime = runtimeNames.find((name) => name === text);
  if (text !== undefined && runtime === undefined)
    throw new BulkheadError('invalid_request', `There is no runtime ${text}: ${runtimeNames.join(', ')}.`);
  return runtime;
}

async function runTurn(session: SessionHandle, code: string): Promise<TurnResult> {
  const result = await session.startTurn({ code, language: 'python' }).result;
  if (result.status === 'error') {
    throw new Error(`The turn failed: ${result.exception?.traceback ?? result.error?.message ?? 'no reason given'}`);
  }
  return result;
}

/** What a Python expression prints, in a turn of its own. */
async function read(session: SessionHandle, expression: string): Promise<string> {
  return (await runTurn(session, `print(${expression})`)).stdout.trim();
}

// The kernel's; a kernel in user space may have none, then the agent's.
const bootIdPaths = '("/proc/sys/kernel/random/boot_id", "/run/bulkhead/boot-id")';
const readBootId = `next(open(path).read().strip() for path in ${bootIdPaths} if __import__("os").path.exists(path))`;
const onProgress = (message: string): void => console.error(message);

async function main(): Promise<void> {
  const started = performance.now();
  const asked = parseRuntime(flags.runtime);
  const config = loadConfig();
  await using bulkhead = await openBulkhead(asked === undefined ? config : { ...config, runtime: asked });
  const tenant = makeId('tenant');
  await using session = await bulkhead.sessions.createSession({ tenant, size: parseSize(flags.size) }, { onProgress });
  const { launch, tier, runtime } = session.record;
  say(`session ${session.id}  runtime ${runtime}  tier ${tier}  launched in ${launch?.confirmedMs.toFixed(0)} ms`);

  for (const name of ['prices.csv', 'positions.csv']) {
    const path = join(here, name);
    await session.guest.writeFile(name, createReadStream(path), statSync(path).size);
  }
  const turns: { name: string; turnMs: number; bootId: string }[] = [];
  for (const name of turnFiles) {
    const result = await runTurn(session, readFileSync(join(here, 'turns', name), 'utf8'));
    turns.push({ name, turnMs: result.timings.turnMs, bootId: await read(session, readBootId) });
    say(`\n${name}  ${result.timings.turnMs.toFixed(0)} ms`);
    const shown = [
      result.stdout.trimEnd(),
      ...result.results.map((data) => data['text/plain']).filter((text) => typeof text === 'string'),
    ];
    for (const text of shown.filter((part) => part !== '' && !part.startsWith('<Figure')))
      say(text.replaceAll(/^/gm, '  '));
  }
  const out = resolve(flags.out);
  await mkdir(dirname(out), { recursive: true });
  await pipeline(session.guest.readFile('report.html'), createWriteStream(out));

  const risk = {
    parametric: Number(await read(session, 'parametric[0]')),
    monteCarlo: Number(await read(session, 'monte_carlo[0]')),
  };
  const ratio = risk.monteCarlo / risk.parametric;
  const bootIds = new Set(turns.map(({ bootId }) => bootId));
  const checks = {
    monteCarloNearParametric: Math.abs(ratio - 1) <= toleranceRatio,
    oneBoot: bootIds.size === 1 && bootIds.has(session.record.bootId ?? ''),
    reportWritten: statSync(out).size > 10_000,
  };
  const totalMs = performance.now() - started;
  say(`\nMonte Carlo over parametric VaR: ${ratio.toFixed(4)}  (at most ${toleranceRatio} from 1)`);
  say(`one session ${session.id}, one boot ${[...bootIds].join(' ')}`);
  say(`report: ${relative(process.cwd(), out)}\ntotal ${(totalMs / 1000).toFixed(1)} s`);
  if (flags.json) {
    const summary = { sessionId: session.id, bootIds: [...bootIds], runtime, tier, launchMs: launch?.confirmedMs };
    console.log(JSON.stringify({ ...summary, turns, risk, ratio, report: out, checks, totalMs }, null, 2));
  }
  const broken = Object.entries(checks).filter(([, holds]) => !holds);
  if (broken.length > 0) throw new Error(`The demo does not hold: ${broken.map(([name]) => name).join(', ')}`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  if (BulkheadError.is(error) && error.hint !== undefined) console.error(error.hint);
  process.exitCode = BulkheadError.is(error) ? errorEntry(error.code).exitCode : 1;
}
