// The reference case through a server: four turns in one session by the TypeScript client, `node client.ts [--out FILE] [--json]`. Asks the server of
// BULKHEAD_URL with BULKHEAD_API_KEY. Checks itself: exit code 1 when it does not hold.

import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Bulkhead, BulkheadError, type Session } from '@bulkhead/sdk';
import { downloadFile, uploadFile } from '@bulkhead/sdk/node';

const here = import.meta.dirname;
const toleranceRatio = 0.03;
const turnFiles = ['1-load.py', '2-calibrate.py', '3-simulate.py', '4-report.py'] as const;
const { values: flags } = parseArgs({
  options: { out: { type: 'string', default: 'var-report.html' }, json: { type: 'boolean', default: false } },
});

function say(line: string): void {
  if (!flags.json) console.log(line);
}

/** What a Python expression prints, in a turn of its own. */
async function read(session: Session, expression: string): Promise<string> {
  return (await session.run(`print(${expression})`)).check().stdout.trim();
}

async function main(): Promise<void> {
  await using client = new Bulkhead({
    url: process.env['BULKHEAD_URL'] ?? 'http://127.0.0.1:8420',
    apiKey: process.env['BULKHEAD_API_KEY'],
  });
  await using session = await client.sessions.create({ labels: { example: 'monte-carlo-var' } });
  const { tier, runtime } = session.info;
  say(`session ${session.id}  runtime ${runtime}  tier ${tier}`);
  for (const name of ['prices.csv', 'positions.csv']) await uploadFile(session, join(here, name), name);

  const bootIds = new Set<string>();
  for (const name of turnFiles) {
    const stream = session.stream(await readFile(join(here, 'turns', name), 'utf8'));
    say(`\n${name}`);
    for await (const event of stream) if (event.type === 'stdout') say(event.text.trimEnd().replaceAll(/^/gm, '  '));
    const result = (await stream.result()).check();
    say(`  ${result.images.length} figures, ${result.tables.length} tables, ${result.timings.turnMs.toFixed(0)} ms`);
    bootIds.add(await read(session, 'open("/proc/sys/kernel/random/boot_id").read().strip()'));
  }
  const out = resolve(flags.out);
  await downloadFile(session, 'report.html', out);

  const parametric = Number(await read(session, 'parametric[0]'));
  const monteCarlo = Number(await read(session, 'monte_carlo[0]'));
  const ratio = monteCarlo / parametric;
  const checks = {
    monteCarloNearParametric: Math.abs(ratio - 1) <= toleranceRatio,
    oneBoot: bootIds.size === 1,
    reportWritten: (await stat(out)).size > 10_000,
    fourTurnsAndWhatWasRead: (await session.turns().all()).length === 2 * turnFiles.length + 2,
  };
  say(`\nMonte Carlo over parametric VaR: ${ratio.toFixed(4)}  (at most ${toleranceRatio} from 1)\nreport: ${out}`);
  if (flags.json)
    console.log(JSON.stringify({ session: session.id, tier, parametric, monteCarlo, ratio, out, checks }));
  const broken = Object.entries(checks).filter(([, holds]) => !holds);
  if (broken.length > 0) throw new Error(`The example does not hold: ${broken.map(([name]) => name).join(', ')}`);
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  if (BulkheadError.is(error) && error.hint !== undefined) console.error(error.hint);
  process.exitCode = 1;
}
