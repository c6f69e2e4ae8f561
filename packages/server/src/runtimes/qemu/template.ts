// A template: a booted, warmed, frozen machine on disk. `memory` is its RAM without the pages that are all zero, `device-state`
// what QEMU keeps beside it, `scratch` its second disk; all three belong to one instant, before the guest had an identity.

import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, ftruncateSync, readSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Accelerator, BulkheadError, type SizeName, sizes } from '@bulkhead/protocol';
import { z } from 'zod';
import { openGuest } from '../../guest/channel.ts';
import type { Image } from '../../images/image.ts';
import { errnoOf } from '../../lib/errno.ts';
import { type Extent, createMemory, dataExtents, measureTscKhz } from '../../lib/host-calls.ts';
import { isOwnerAlive, ownerMark } from '../../lib/owner.ts';
import type { JailOptions } from './jail.ts';
import {
  type MachineHardware,
  firstExtraDescriptor,
  kernelCommandLine,
  savedStatePath,
  templateArguments,
} from './qemu-command.ts';
import { Vmm } from './vmm.ts';

/** Raise it when what a template holds changes meaning. */
const formatVersion = 2;
const bootTimeoutMs = 240_000;
const pageBytes = 4096;
const mib = 1024 * 1024;

export interface TemplateOptions {
  readonly cacheDir: string;
  readonly image: Image;
  readonly size: SizeName;
  readonly accelerator: Accelerator;
  readonly qemuVersion: string;
  readonly jail: JailOptions;
  readonly onProgress?: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** A template on disk, ready to launch from. */
export interface Template {
  readonly digest: string;
  readonly hardware: MachineHardware;
  readonly memoryPath: string;
  /** What QEMU keeps beside the memory. */
  readonly deviceState: Buffer;
  readonly rootPath: string;
  /** The data of the scratch disk when the machine was frozen; everything else of it is a hole. */
  readonly scratch: readonly { readonly offset: number; readonly bytes: Buffer }[];
}

/** What decides whether a template can serve: another processor model, QEMU or image needs another template. */
export function templateDigest(options: TemplateOptions): string {
  const { image, size, accelerator, qemuVersion } = options;
  const hardware: MachineHardware = { accelerator, size: sizes[size] };
  const boot = { kernelPath: '', initramfsPath: '', commandLine: kernelCommandLine({ mode: 'session' }) };
  const inputs = [formatVersion, image.digest, templateArguments(hardware, '', boot), qemuVersion, cpus()[0]?.model];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
}

/** The template of these options, from the cache or made now. Errors: `template_failed`, `disk_full`, `cancelled`. */
export async function ensureTemplate(options: TemplateOptions): Promise<Template> {
  const digest = templateDigest(options);
  const directory = join(options.cacheDir, 'templates', digest);
  if (!existsSync(directory)) await makeTemplate(options, directory);
  return loadTemplate(options, digest, directory);
}

async function loadTemplate(options: TemplateOptions, digest: string, directory: string): Promise<Template> {
  const file = await open(join(directory, 'scratch'), 'r');
  try {
    const { size } = await file.stat();
    const read = async ({ offset, length }: Extent): Promise<{ offset: number; bytes: Buffer }> => {
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, offset);
      return { offset, bytes };
    };
    return {
      digest,
      hardware: { accelerator: options.accelerator, size: sizes[options.size] },
      memoryPath: join(directory, 'memory'),
      deviceState: await readFile(join(directory, 'device-state')),
      rootPath: options.image.rootPath,
      scratch: await Promise.all(dataExtents(file.fd, size).map(read)),
    };
  } finally {
    await file.close();
  }
}

async function makeTemplate(options: TemplateOptions, directory: string): Promise<void> {
  const parent = join(options.cacheDir, 'templates');
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await sweepTemplates(options.cacheDir);
  const started = performance.now();
  options.onProgress?.(`template ${options.size}: booting and warming a machine (${options.accelerator})`);
  // The mark lets the sweep tell a maker that died from one that is at work.
  const workspace = join(parent, `.${ownerMark}.${randomBytes(4).toString('hex')}`);
  await mkdir(workspace, { mode: 0o700 });
  try {
    await bootAndFreeze(options, workspace);
    // Where another process was quicker, its template is as good as ours.
    await rename(workspace, directory).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
    });
  } catch (error) {
    throw describeFailure(error, options);
  } finally {
    await rm(workspace, { recursive: true, force: true });
  }
  options.onProgress?.(`template ${options.size}: frozen after ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

function describeFailure(error: unknown, options: TemplateOptions): BulkheadError {
  if (BulkheadError.is(error) && error.code !== 'machine_lost') return error;
  if (errnoOf(error) === 'ENOSPC') {
    const message = 'There is no space for the template.';
    return new BulkheadError('disk_full', message, { hint: `Free space in ${options.cacheDir}.`, cause: error });
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('template_failed', `The template of size ${options.size} could not be made: ${detail}`, {
    hint: 'Run `bulkhead doctor`; then try again, or build the image anew with `bulkhead image build --force`.',
    cause: error,
  });
}

/** A machine that has said HELLO: booted, warmed, without an identity. */
interface BootedMachine {
  readonly vmm: Vmm;
  readonly memory: number;
}

async function bootMachine(
  options: TemplateOptions,
  workspace: string,
  cleanup: AsyncDisposableStack,
): Promise<BootedMachine> {
  const { image, signal } = options;
  const size = sizes[options.size];
  const memory = createMemory('bulkhead-template-boot');
  cleanup.defer(() => closeSync(memory));
  ftruncateSync(memory, size.memoryMib * mib);
  const openFile = async (path: string, flags: string): Promise<number> =>
    cleanup.use(await open(path, flags, 0o600)).fd;
  const scratch = await openFile(join(workspace, 'scratch'), 'w+');
  ftruncateSync(scratch, size.scratchMib * mib);
  const root = await openFile(image.rootPath, 'r');
  const savedState = await openFile(join(workspace, 'device-state'), 'w');

  // The jail's user cannot walk to files in our cache: they go in by descriptor, as everything does.
  const extra = [await openFile(image.kernelPath, 'r'), await openFile(image.initramfsPath, 'r')];
  const tscKhz = options.accelerator === 'tcg' ? await measureTscKhz() : undefined;
  const boot = {
    kernelPath: `/proc/self/fd/${firstExtraDescriptor}`,
    initramfsPath: `/proc/self/fd/${firstExtraDescriptor + 1}`,
    commandLine: kernelCommandLine({ mode: 'session', ...(tscKhz === undefined ? {} : { tscKhz }) }),
  };
  const hardware: MachineHardware = { accelerator: options.accelerator, size };
  const machineArguments = templateArguments(hardware, `bulkhead-template:${ownerMark}`, boot);
  const vmm = new Vmm(options.jail, machineArguments, { memory, root, scratch, savedState, extra });
  cleanup.defer(() => vmm.kill());
  const guest = cleanup.use(openGuest(vmm.channel));

  const timeout = AbortSignal.timeout(bootTimeoutMs);
  const deadline = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const died = vmm.exited.then((words): never => {
    throw new Error(`the machine ended while it booted (${words})`);
  });
  died.catch(() => undefined);
  try {
    await vmm.qmp.execute('qmp_capabilities');
    await Promise.race([guest.hello({ signal: deadline }), died]);
  } catch (error) {
    if (!timeout.aborted) throw error;
    throw new Error(`the guest did not say that it is ready within ${bootTimeoutMs / 1000} s`, { cause: error });
  }
  return { vmm, memory };
}

async function bootAndFreeze(options: TemplateOptions, workspace: string): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const { vmm, memory } = await bootMachine(options, workspace, cleanup);
  await vmm.qmp.execute('stop');
  await vmm.qmp.execute('xen-save-devices-state', { filename: savedStatePath });
  await vmm.kill();
  await writeNonzeroPages(memory, sizes[options.size].memoryMib * mib, join(workspace, 'memory'));
  await writeFile(join(workspace, 'template.json'), `${JSON.stringify(describeTemplate(options), null, 2)}\n`);
  for (const file of await readdir(workspace)) {
    await using handle = await open(join(workspace, file), 'r');
    await handle.sync();
  }
}

/** Milliseconds from spawn to a warmed interpreter without a template: what a launch would cost by booting. */
export async function measureColdBoot(options: TemplateOptions): Promise<number> {
  await using cleanup = new AsyncDisposableStack();
  const workspace = await mkdtemp(join(tmpdir(), `bulkhead-state.${ownerMark}.`));
  cleanup.defer(() => rm(workspace, { recursive: true, force: true }));
  const started = performance.now();
  await bootMachine(options, workspace, cleanup);
  return performance.now() - started;
}

/** Copies memory to a sparse file, leaving pages that are all zero as holes. */
async function writeNonzeroPages(memory: number, sizeBytes: number, path: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.truncate(sizeBytes);
    const chunk = Buffer.alloc(mib);
    const zeroPage = Buffer.alloc(pageBytes);
    for (const { offset, length } of dataExtents(memory, sizeBytes)) {
      for (let at = offset; at < offset + length; at += mib) {
        const bytes = readSync(memory, chunk, 0, Math.min(mib, offset + length - at), at);
        let runStart = -1;
        for (let page = 0; page <= bytes; page += pageBytes) {
          const zero = page === bytes || zeroPage.equals(chunk.subarray(page, page + pageBytes));
          if (!zero && runStart < 0) runStart = page;
          if (!zero || runStart < 0) continue;
          await file.write(chunk, runStart, page - runStart, at + runStart);
          runStart = -1;
        }
      }
    }
  } finally {
    await file.close();
  }
}

function describeTemplate(options: TemplateOptions): Readonly<Record<string, unknown>> {
  const { size, accelerator, qemuVersion } = options;
  return {
    formatVersion,
    digest: templateDigest(options),
    image: options.image.digest,
    size,
    accelerator,
    qemuVersion,
    processor: cpus()[0]?.model,
    createdAt: new Date().toISOString(),
  };
}

/** Removes what makers that died left behind; returns the names. */
export async function sweepTemplates(cacheDir: string): Promise<string[]> {
  const removed: string[] = [];
  const places = [
    { directory: join(cacheDir, 'templates'), pattern: /^\.(\d+-\d+)\.[0-9a-f]+$/ },
    { directory: tmpdir(), pattern: /^bulkhead-state\.(\d+-\d+)\./ },
  ];
  for (const { directory, pattern } of places) {
    for (const name of await readdir(directory).catch(() => [])) {
      const mark = pattern.exec(name)?.[1];
      if (mark === undefined || isOwnerAlive(mark)) continue;
      await rm(join(directory, name), { recursive: true, force: true });
      removed.push(join(directory, name));
    }
  }
  return removed;
}

export interface PrunedTemplate {
  readonly digest: string;
  readonly createdAt: string;
  /** On the disk: holes take nothing. */
  readonly bytes: number;
}

/**
 * Removes the templates of other images than these, by digest, and of the rest all but the newest of a size and an accelerator.
 * A machine that was launched from one runs on.
 */
export async function pruneTemplates(cacheDir: string, images: ReadonlySet<string>): Promise<PrunedTemplate[]> {
  const parent = join(cacheDir, 'templates');
  const names = (await readdir(parent).catch(() => [])).filter((name) => !name.startsWith('.'));
  const found = await Promise.all(
    names.map(async (digest) => ({ digest, ...(await readTemplateFacts(join(parent, digest, 'template.json'))) })),
  );
  const removed: PrunedTemplate[] = [];
  const kept = new Set<string>();
  for (const { digest, image, size, accelerator, createdAt } of found.toSorted(newestFirst)) {
    const use = `${image} ${size} ${accelerator}`;
    if (images.has(image) && !kept.has(use)) {
      kept.add(use);
      continue;
    }
    const directory = join(parent, digest);
    const files = await Promise.all((await readdir(directory)).map((name) => stat(join(directory, name))));
    const bytes = files.reduce((sum, { blocks }) => sum + blocks * diskBlockBytes, 0);
    // It is gone at once or not at all: half a template would be taken for a whole one.
    const condemned = join(parent, `.${ownerMark}.${randomBytes(4).toString('hex')}`);
    await rename(directory, condemned);
    await rm(condemned, { recursive: true, force: true });
    removed.push({ digest, createdAt, bytes });
  }
  return removed;
}

const diskBlockBytes = 512;
const templateFactsSchema = z.object({
  image: z.string(),
  size: z.string(),
  accelerator: z.string(),
  createdAt: z.string(),
});
type TemplateFacts = z.infer<typeof templateFactsSchema>;

const newestFirst = (a: TemplateFacts, b: TemplateFacts): number => (a.createdAt < b.createdAt ? 1 : -1);

/** Of a template that cannot be read: nothing, which is no image's. */
async function readTemplateFacts(path: string): Promise<TemplateFacts> {
  try {
    return templateFactsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return { image: '', size: '', accelerator: '', createdAt: '' };
  }
}
