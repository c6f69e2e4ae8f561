// A template: a container with a warmed interpreter, written out before it had an identity. Every launch is a copy of it. Named by what decides
// whether it can serve, and complete when it has its name.

import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { BulkheadError, type SizeName, makeId } from '@bulkhead/protocol';
import { openGuest } from '../../guest/channel.ts';
import { errnoOf } from '../../lib/errno.ts';
import { ownerMark } from '../../lib/owner.ts';
import { machineName } from '../machine-name.ts';
import { agentCommand, bundleConfig, writeBundle } from './bundle.ts';
import { checkpoint, imageName } from './checkpoint.ts';
import { ContainerChannel } from './container-channel.ts';
import { type Platform, type Runsc, runscFlags } from './runsc-program.ts';
import { Sandbox } from './sandbox.ts';
import { sweepOwned } from './root-tree.ts';

/** Raise it when what a template holds changes meaning. */
const formatVersion = 1;
const bootTimeoutMs = 120_000;

export interface TemplateOptions {
  readonly cacheDir: string;
  readonly runsc: Runsc;
  readonly platform: Platform;
  readonly imageDigest: string;
  readonly rootDir: string;
  readonly size: SizeName;
  readonly onProgress?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Template {
  readonly digest: string;
  readonly size: SizeName;
  readonly rootDir: string;
  /** The folder that runsc is given. */
  readonly imageDir: string;
}

function templateDigest({ runsc, platform, imageDigest, size }: TemplateOptions): string {
  const bundle = bundleConfig({ rootDir: '', command: agentCommand(size), size });
  const inputs = ['container', formatVersion, imageDigest, bundle, runsc.version, platform, cpus()[0]?.model];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
}

/** From the cache, or made now. Errors: `template_failed`, `disk_full`, `cancelled`. */
export async function ensureTemplate(options: TemplateOptions): Promise<Template> {
  const digest = templateDigest(options);
  const imageDir = join(options.cacheDir, 'container-templates', digest);
  if (!existsSync(imageDir)) await makeTemplate(options, imageDir);
  return { digest, size: options.size, rootDir: options.rootDir, imageDir };
}

async function makeTemplate(options: TemplateOptions, imageDir: string): Promise<void> {
  const { size, platform, onProgress } = options;
  const parent = join(options.cacheDir, 'container-templates');
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const started = performance.now();
  onProgress?.(`template ${size}: warming a container (${platform})`);
  const workspace = join(parent, `.${ownerMark}.${randomBytes(4).toString('hex')}`);
  await mkdir(workspace, { mode: 0o700 });
  try {
    await warm(options, async (running) => {
      await checkpoint({ ...running, folder: workspace });
    });
    const image = await open(join(workspace, imageName), 'r');
    await image.sync();
    await image.close();
    const facts = { formatVersion, image: options.imageDigest, size, platform, runsc: options.runsc.version };
    await writeFile(join(workspace, 'template.json'), `${JSON.stringify(facts, null, 2)}\n`);
    // Where another process was quicker, its template is as good as ours.
    await rename(workspace, imageDir).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
    });
  } catch (error) {
    throw describeFailure(error, options);
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
  onProgress?.(`template ${size}: written after ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

type Running = Omit<Parameters<typeof checkpoint>[0], 'folder'>;

/** A container that has said HELLO, for as long as `use` takes: its interpreter is warm, and it is nobody. */
async function warm(options: TemplateOptions, use: (running: Running) => Promise<void>): Promise<void> {
  const { cacheDir, runsc, platform, rootDir, size, signal } = options;
  await using cleanup = new AsyncDisposableStack();
  const id = makeId('machine');
  const directory = join(cacheDir, 'containers', machineName({ id, session: null, tenant: null }, 'container'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  await writeBundle(directory, { rootDir, command: agentCommand(size), size });
  const stateDir = join(directory, 'state');
  const command = [runsc.path, ...runscFlags(stateDir, platform), 'run', `--bundle=${directory}`, id];
  const sandbox = new Sandbox({ id, command, cgroupFiles: [] });
  cleanup.defer(() => sandbox.kill());
  const guest = cleanup.use(openGuest(new ContainerChannel(sandbox)));
  const timeout = AbortSignal.timeout(bootTimeoutMs);
  const died = sandbox.exited.then((words): never => {
    throw new Error(`the container ended while it was warmed (${words})`);
  });
  died.catch(() => undefined);
  try {
    await Promise.race([
      guest.hello({ signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) }),
      died,
    ]);
  } catch (error) {
    if (!timeout.aborted) throw error;
    throw new Error(`the agent did not say that it is ready within ${bootTimeoutMs / 1000} s`, { cause: error });
  }
  const { runscPid } = sandbox;
  if (runscPid === undefined) throw new Error('runsc did not start');
  await use({ runsc, platform, stateDir, id, runscPid });
}

/** Milliseconds from the spawn to a warmed interpreter, without a template. */
export async function measureColdBoot(options: TemplateOptions): Promise<number> {
  const started = performance.now();
  let elapsedMs = Number.NaN;
  await warm(options, async () => {
    elapsedMs = performance.now() - started;
  });
  return elapsedMs;
}

function describeFailure(error: unknown, options: TemplateOptions): BulkheadError {
  if (BulkheadError.is(error) && error.code !== 'machine_lost') return error;
  if (errnoOf(error) === 'ENOSPC') {
    const message = 'There is no space for the template.';
    return new BulkheadError('disk_full', message, { hint: `Free space in ${options.cacheDir}.`, cause: error });
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('template_failed', `The template of size ${options.size} could not be made: ${detail}`, {
    hint: 'Run `bulkhead doctor`; then try again.',
    cause: error,
  });
}

export async function sweepTemplates(cacheDir: string): Promise<string[]> {
  return await sweepOwned(join(cacheDir, 'container-templates'), /^\.(\d+-\d+)\.[0-9a-f]+$/);
}
