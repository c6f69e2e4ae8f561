// The `qemu` runtime: every machine is a copy-on-write restore of a warmed template, in a jail, made unique before anybody has it.

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError, type SizeName, type Tier, limits, makeId } from '@bulkhead/protocol';
import { openGuest } from '../../guest/channel.ts';
import type { Confirmation, Guest } from '../../guest/guest.ts';
import { buildImage } from '../../images/image-build.ts';
import type { Image } from '../../images/image.ts';
import { errnoOf } from '../../lib/errno.ts';
import type { LaunchSpec, MachineRecord, PrepareOptions, Runtime, RuntimeCapabilities } from '../runtime.ts';
import { type AcceleratorFinding, findAccelerator } from './accelerator.ts';
import type { Qemu } from './qemu-program.ts';
import { type CgroupRoot, endGroup, listGroups, makeGroup, openCgroups, removeGroup } from './cgroups.ts';
import { type JailOptions, kvmAccess } from './jail.ts';
import { findMachines, isOwnerAlive, killProcess, machineName, ownerMark } from './machine-name.ts';
import { descriptors, restoreArguments, translationCacheMib } from './qemu-command.ts';
import { QemuMachine } from './qemu-machine.ts';
import { TenantMemories, loadSealedMemory } from './template-memory.ts';
import { type Template, type TemplateOptions, ensureTemplate, measureColdBoot, sweepTemplates } from './template.ts';
import { Vmm } from './vmm.ts';

const mib = 1024 * 1024;
const vmmOverheadMib = 128;
/** A confirmation that took no longer bounds the error of the guest's clock well enough. */
const identifyFastMs = 40;
const identifyMaxCount = 3;

export interface QemuRuntimeOptions {
  readonly cacheDir: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  /** Whether tenants may share the pages of one template; they are a side channel, so the default elsewhere is no. */
  readonly shareTemplatePages: boolean;
  readonly recipeDir?: string;
  readonly qemu: Qemu;
}

/** What `prepare` found and made for one size. */
interface Prepared {
  readonly template: Template;
  readonly memories: TenantMemories;
}

/** Opens the runtime; launches nothing. Errors: `host_unsupported` when QEMU is not there or too old. */
export async function createQemuRuntime(options: QemuRuntimeOptions): Promise<QemuRuntime> {
  const [version, cgroups] = await Promise.all([options.qemu.version, openCgroups()]);
  return new QemuRuntime(options, options.qemu.path, version, cgroups);
}

export class QemuRuntime implements Runtime {
  readonly #options: QemuRuntimeOptions;
  readonly #qemuPath: string;
  readonly #qemuVersion: string;
  readonly #cgroups: CgroupRoot | undefined;
  readonly #machines = new Set<QemuMachine>();
  readonly #prepared = new Map<SizeName, Promise<Prepared>>();
  #image: Promise<Image> | undefined;
  #finding: AcceleratorFinding | undefined;
  #closed = false;

  constructor(options: QemuRuntimeOptions, qemuPath: string, qemuVersion: string, cgroups: CgroupRoot | undefined) {
    this.#options = options;
    this.#qemuPath = qemuPath;
    this.#qemuVersion = qemuVersion;
    this.#cgroups = cgroups;
  }

  /** Known after the first `prepare`; before it the weaker tier is stated. */
  get capabilities(): RuntimeCapabilities {
    const accelerator = this.#finding?.accelerator ?? 'tcg';
    return {
      runtime: 'qemu',
      tier: tierOf(accelerator),
      accelerator,
      memorySuspend: false,
      fork: false,
      network: 'channel-only',
    };
  }

  /** Why that accelerator was chosen; undefined before the first `prepare`. */
  get accelerator(): AcceleratorFinding | undefined {
    return this.#finding;
  }

  async prepare(size: SizeName, options: PrepareOptions = {}): Promise<void> {
    await this.#prepare(size, options);
  }

  async #prepare(size: SizeName, options: PrepareOptions): Promise<Prepared> {
    const earlier = this.#prepared.get(size);
    if (earlier !== undefined) return earlier;
    const preparing = this.#makePrepared(size, options);
    this.#prepared.set(size, preparing);
    // A failure is not remembered: the next call tries again.
    preparing.catch(() => this.#prepared.delete(size));
    return preparing;
  }

  async #makePrepared(size: SizeName, options: PrepareOptions): Promise<Prepared> {
    const template = await ensureTemplate(await this.#templateOptions(size, options));
    const sizeBytes = template.hardware.size.memoryMib * mib;
    return { template, memories: new TenantMemories(() => loadSealedMemory(template.memoryPath, sizeBytes)) };
  }

  async #templateOptions(size: SizeName, options: PrepareOptions): Promise<TemplateOptions> {
    const image = await this.#ensureImage(options);
    this.#finding ??= await this.findAccelerator(image);
    const { accelerator } = this.#finding;
    const { cacheDir } = this.#options;
    return { cacheDir, image, size, accelerator, qemuVersion: this.#qemuVersion, jail: this.#jail(), ...options };
  }

  /** Milliseconds that a machine of this size takes without a template; for the benchmarks. */
  async measureColdBoot(size: SizeName): Promise<number> {
    return measureColdBoot(await this.#templateOptions(size, {}));
  }

  async #ensureImage({ signal, onProgress }: PrepareOptions): Promise<Image> {
    if (this.#image !== undefined) return this.#image;
    const { cacheDir, recipeDir } = this.#options;
    const building = buildImage({
      cacheDir,
      ...(recipeDir === undefined ? {} : { recipeDir }),
      ...(signal === undefined ? {} : { signal }),
      onProgress: ({ message }) => onProgress?.(message),
    });
    this.#image = building;
    building.catch(() => (this.#image = undefined));
    return building;
  }

  /** Errors: `host_unsupported` when KVM was demanded and does not work. */
  async findAccelerator(image: Image): Promise<AcceleratorFinding> {
    const { cacheDir, accelerator: wanted } = this.#options;
    const finding = await findAccelerator({
      cacheDir,
      image,
      wanted,
      qemuVersion: this.#qemuVersion,
      jail: this.#jail(),
    });
    if (wanted === 'kvm' && finding.accelerator !== 'kvm') {
      throw new BulkheadError('host_unsupported', `KVM was demanded and does not work here: ${finding.proof}.`, {
        hint: 'Set BULKHEAD_ACCELERATOR=auto to accept emulation, which is slower and a weaker tier.',
      });
    }
    return finding;
  }

  #jail(cgroupFiles: readonly string[] = [], fileSizeMaxBytes: number = 64 * 1024 * mib): JailOptions {
    return {
      qemuPath: this.#qemuPath,
      root: process.getuid?.() === 0,
      cgroupFiles,
      fileSizeMaxBytes,
      ...(this.#finding?.accelerator === 'kvm' ? { kvm: kvmAccess() } : {}),
    };
  }

  async launch(spec: LaunchSpec, options: { readonly signal?: AbortSignal } = {}): Promise<QemuMachine> {
    if (this.#closed) throw new BulkheadError('session_ended', 'This runtime is closed.');
    const { template, memories } = await this.#prepare(spec.size, options);
    using lease = await memories.acquire(this.#options.shareTemplatePages ? 'shared' : spec.tenant);
    const started = performance.now();
    const timeout = AbortSignal.timeout(limits.launchTimeoutMs);
    const deadline = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    try {
      deadline.throwIfAborted();
      const machine = await this.#restore(spec, template, lease.fd, started, deadline);
      this.#machines.add(machine);
      void machine.exited.then(() => this.#machines.delete(machine));
      return machine;
    } catch (error) {
      throw describeLaunchFailure(error, options.signal, timeout);
    }
  }

  async #restore(
    spec: LaunchSpec,
    template: Template,
    memory: number,
    started: number,
    signal: AbortSignal,
  ): Promise<QemuMachine> {
    const id = makeId('machine');
    const { size } = template.hardware;
    await using undo = new AsyncDisposableStack();

    const group = `${ownerMark}.${id}`;
    const cgroupFiles = await this.#makeGroup(group, template, undo);
    const scratch = await this.#makeScratch(id, template);
    const ours = [scratch, openSync(template.rootPath, 'r'), openSync(template.deviceStatePath, 'r')];
    const [, root = -1, deviceState = -1] = ours;
    let vmm: Vmm;
    try {
      const jail = this.#jail(cgroupFiles, (size.scratchMib + 1) * mib);
      const name = machineName(id, spec.session, spec.tenant);
      vmm = new Vmm(jail, restoreArguments(template.hardware, name), { memory, root, scratch, deviceState });
    } finally {
      for (const fd of ours) closeSync(fd);
    }
    const release = (): Promise<void> => this.#removeGroup(group);
    undo.defer(() => vmm.kill());
    const spawnedMs = performance.now() - started;
    const guest = undo.use(openGuest(vmm.channel));

    const resumed = resumeFromTemplate(vmm);
    const restored = resumed.then(() => performance.now() - started);
    // Not before the processors run: the identity carries the time.
    const confirmed = resumed.then(() => makeUnique(guest, spec, signal));
    const died = vmm.exited.then((words): never => {
      throw new Error(`QEMU ended before the machine was confirmed (${words})`);
    });
    const [{ bootId }, restoredMs] = await Promise.race([Promise.all([confirmed, restored]), died, aborted(signal)]);
    died.catch(() => undefined);
    const timings = { spawnedMs, restoredMs, confirmedMs: performance.now() - started };
    const hostPids = await vmm.pids();
    undo.move();
    return new QemuMachine({
      id,
      spec,
      tier: tierOf(template.hardware.accelerator),
      bootId,
      timings,
      guest,
      vmm,
      hostPids,
      release,
    });
  }

  async #makeGroup(name: string, template: Template, undo: AsyncDisposableStack): Promise<readonly string[]> {
    if (this.#cgroups === undefined) return [];
    undo.defer(() => this.#removeGroup(name));
    const { memoryMib, vcpus } = template.hardware.size;
    return makeGroup(this.#cgroups, name, {
      memoryMaxBytes: (memoryMib + translationCacheMib + vmmOverheadMib) * mib,
      processesMaxCount: 128,
      cpus: vcpus + 0.25,
    });
  }

  async #removeGroup(name: string): Promise<void> {
    if (this.#cgroups !== undefined) await removeGroup(this.#cgroups, name);
  }

  /** A sparse copy of the template's second disk, without a name: only the VMM's descriptor keeps it. */
  async #makeScratch(name: string, template: Template): Promise<number> {
    const directory = join(this.#options.cacheDir, 'scratch');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, `${ownerMark}.${name}`);
    const file = await open(path, 'wx+', 0o600);
    try {
      unlinkSync(path);
      await file.truncate(template.hardware.size.scratchMib * mib);
      for (const { offset, bytes } of template.scratch) await file.write(bytes, 0, bytes.length, offset);
      return openSync(`/proc/self/fd/${file.fd}`, 'r+');
    } finally {
      await file.close();
    }
  }

  async list(): Promise<readonly MachineRecord[]> {
    const byId = new Map(findMachines().map(({ id, tenant, session }) => [id, { id, tenant, session }]));
    return [...byId.values()];
  }

  async sweep(): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const { id, pid, owned } of findMachines()) {
      if (!owned && killProcess(pid)) removed.push(`process ${pid} of ${id}`);
    }
    if (this.#cgroups !== undefined) {
      for (const name of await listGroups(this.#cgroups)) {
        if (isOwnerAlive(name)) continue;
        await endGroup(this.#cgroups, name);
        removed.push(`control group ${name}`);
      }
    }
    const scratchDir = join(this.#options.cacheDir, 'scratch');
    for (const name of await readdir(scratchDir).catch(() => [])) {
      if (isOwnerAlive(name)) continue;
      await rm(join(scratchDir, name), { force: true });
      removed.push(`scratch disk ${name}`);
    }
    return [...removed, ...(await sweepTemplates(this.#options.cacheDir))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#machines].map((machine) => machine[Symbol.asyncDispose]()));
    for (const preparing of this.#prepared.values()) {
      const prepared = await preparing.catch(() => undefined);
      prepared?.memories.close();
    }
    this.#prepared.clear();
  }
}

/**
 * Loads the device state, then runs. `cont` waits for the load: QEMU forgets one that comes in the middle, because the template was
 * frozen in a stopped machine.
 */
async function resumeFromTemplate(vmm: Vmm): Promise<void> {
  const loaded = vmm.qmp.event('MIGRATION', (data) => data['status'] === 'completed' || data['status'] === 'failed');
  loaded.catch(() => undefined);
  const capabilities = ['x-ignore-shared', 'events'].map((capability) => ({ capability, state: true }));
  await Promise.all([
    vmm.qmp.execute('qmp_capabilities'),
    vmm.qmp.execute('migrate-set-capabilities', { capabilities }),
    vmm.qmp.execute('migrate-incoming', { uri: `fd:${descriptors.deviceState}` }),
    loaded,
  ]);
  await vmm.qmp.execute('cont');
}

/** Rejects when the signal is aborted, for work that cannot be told to stop. */
async function aborted(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('aborted', { cause: signal.reason })), { once: true });
  });
}

function tierOf(accelerator: string): Tier {
  return accelerator === 'kvm' ? 'vm-kvm' : 'vm-emulated';
}

/**
 * Gives the machine its identity. An emulator translates code when it first runs, so the first IDENTIFY of a machine is read late and
 * the time in it is old; then a second one, read at once, sets the clock right before anybody has the machine.
 */
async function makeUnique(guest: Guest, spec: LaunchSpec, signal: AbortSignal): Promise<Confirmation> {
  for (let epoch = 1; ; epoch++) {
    const identity = {
      epoch,
      key: randomBytes(32),
      hostname: hostnameOf(spec),
      machineId: randomBytes(16).toString('hex'),
    };
    const sent = performance.now();
    const confirmation = await guest.identify(identity, { signal });
    if (performance.now() - sent <= identifyFastMs || epoch === identifyMaxCount) return confirmation;
  }
}

/** A host name that no other session has, and that says nothing of the host: the session's own id. */
function hostnameOf(spec: LaunchSpec): string {
  return spec.session.replace('_', '-');
}

function describeLaunchFailure(error: unknown, signal: AbortSignal | undefined, timeout: AbortSignal): BulkheadError {
  if (signal?.aborted === true) return new BulkheadError('cancelled', 'The launch was cancelled.', { cause: error });
  if (timeout.aborted) {
    const message = `The machine was not ready within ${limits.launchTimeoutMs / 1000} s.`;
    return new BulkheadError('launch_timeout', message, {
      hint: 'Try again when the host is less busy.',
      cause: error,
    });
  }
  if (errnoOf(error) === 'ENOSPC') {
    return new BulkheadError('disk_full', 'There is no space for the scratch disk.', { cause: error });
  }
  const detail = error instanceof Error ? error.message : String(error);
  return new BulkheadError('launch_failed', `The machine could not be launched: ${detail}`, {
    hint: 'Run `bulkhead doctor` to see what this host lacks.',
    cause: error,
  });
}
