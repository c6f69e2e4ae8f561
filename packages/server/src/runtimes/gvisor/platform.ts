// Which platform of runsc truly works here. A version may not have one, a device may open and never run a guest: so the answer comes from
// running a container, with the host's own root below it, read-only. It is kept for this runsc, kernel, processor and user.

import { createHash, randomBytes } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BulkheadError, makeId } from '@bulkhead/protocol';
import { z } from 'zod';
import { ownerMark } from '../../lib/owner.ts';
import { writeBundle } from './bundle.ts';
import { type Platform, type Runsc, platforms, runToEnd, runscFlags } from './runsc-program.ts';
import { killAll } from './sandbox.ts';

const probeTimeoutMs = 6000;
const hello = 'bulkhead-probe-ok';

export interface PlatformFinding {
  readonly platform: Platform;
  /** How we know, in a sentence. */
  readonly proof: string;
}

/** Errors: `host_unsupported` when no platform runs a container, with what each did. */
export async function findPlatform(cacheDir: string, runsc: Runsc): Promise<PlatformFinding> {
  const inputs = [release(), runsc.path, runsc.version, cpus()[0]?.model, process.geteuid?.()];
  const key = createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 32);
  const directory = join(cacheDir, 'container-platforms');
  const path = join(directory, `${key}.json`);
  const remembered = await readFile(path, 'utf8').then(parseFinding, () => undefined);
  if (remembered !== undefined) return remembered;
  const finding = await probe(runsc);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unfinished = `${path}.${ownerMark}.${randomBytes(4).toString('hex')}`;
  await writeFile(unfinished, JSON.stringify(finding));
  await rename(unfinished, path);
  return finding;
}

const findingSchema = z.object({ platform: z.enum(platforms), proof: z.string() });

/** A remembered answer that cannot be read is no answer: the probe runs again. */
function parseFinding(text: string): PlatformFinding | undefined {
  try {
    return findingSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function probe(runsc: Runsc): Promise<PlatformFinding> {
  const refusals: string[] = [];
  for (const platform of platforms) {
    const started = performance.now();
    const refusal = await tryPlatform(runsc, platform);
    if (refusal === undefined) {
      const elapsedMs = Math.round(performance.now() - started);
      const ran = `a container ran under ${platform} in ${elapsedMs} ms`;
      return { platform, proof: refusals.length === 0 ? ran : `${ran}; ${refusals.join('; ')}` };
    }
    refusals.push(`${platform}: ${refusal}`);
  }
  throw new BulkheadError('host_unsupported', `runsc runs no container here: ${refusals.join('; ')}.`, {
    hint: 'Use another runsc or another host; `bulkhead doctor` tries again.',
    details: { runsc: runsc.version },
  });
}

/** Why a platform does not work; undefined when it does. */
async function tryPlatform(runsc: Runsc, platform: Platform): Promise<string | undefined> {
  if (platform === 'kvm' && !canOpenKvm()) return '/dev/kvm cannot be opened';
  const id = makeId('machine');
  const directory = await mkdtemp(join(tmpdir(), `bulkhead-probe.${ownerMark}.`));
  const bundle = join(directory, `bulkhead.${id}.-.-.${ownerMark}`);
  try {
    await writeBundle(bundle, { rootDir: '/', command: ['/bin/echo', hello] });
    const command = [...runscFlags(join(directory, 'state'), platform), 'run', `--bundle=${bundle}`, id];
    const args = ['--pdeathsig', 'KILL', '--', runsc.path, ...command];
    const { stdout, failure } = await runToEnd('setpriv', args, probeTimeoutMs);
    return failure ?? (stdout.includes(hello) ? undefined : 'a container said nothing');
  } finally {
    await killAll(id);
    await rm(directory, { recursive: true, force: true });
  }
}

function canOpenKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
