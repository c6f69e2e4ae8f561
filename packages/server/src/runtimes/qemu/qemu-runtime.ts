// The `qemu` runtime: every machine is a copy-on-write restore of a warmed template, in a jail, made unique before anybody has it.

import { readdir, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { BulkheadError, type SizeName, type TenantId } from '@bulkhead/protocol';
import { buildImage } from '../../images/image-build.ts';
import { listImages } from '../../images/image-store.ts';
import type { Image } from '../../images/image.ts';
import { isOwnerAlive } from '../../lib/owner.ts';
import { type HostRoom, checkRoom, readRoom } from '../admission.ts';
import { type CgroupRoot, openCgroups, sweepGroups } from '../cgroups.ts';
import { launchInTime } from '../launch-in-time.ts';
import { type FoundMachine, findMachines, killProcess } from '../machine-name.ts';
import type {
  Coming,
  LaunchSpec,
  MachineRecord,
  PrepareOptions,
  RestoreOptions,
  Runtime,
  RuntimeCapabilities,
  SnapshotSource,
  SpareMachine,
  SpareSpec,
} from '../runtime.ts';
import { ConfirmedSpare, rehearse } from '../spare.ts';
import { type AcceleratorFinding, findAccelerator } from './accelerator.ts';
import { type JailOptions, kvmAccess } from './jail.ts';

import { type LaunchHost, type LaunchOrder, launchMachine } from './qemu-launch.ts';
import type { QemuMachine } from './qemu-machine.ts';
import { tierOf } from './qemu-command.ts';
import type { Qemu } from './qemu-program.ts';
import { SnapshotWorker } from './snapshot-worker.ts';
import { startVmm } from './started-vmm.ts';
import { TenantMemories, loadTemplateMemory } from './template-memory.ts';
import { type Template, type TemplateOptions, ensureTemplate, measureColdBoot, sweepTemplates } from './template.ts';

const mib = 1024 * 1024;
/** Copies of a template that nobody uses, as many as fit into this part of the host's memory; a machine that needs the room has it. */
const idleCopiesPart = 0.25;
const idleCopiesKeptCount = 2;
const idleCopiesKeptMs = 60_000;

export interface QemuRuntimeOptions {
  readonly cacheDir: string;
  readonly accelerator: 'auto' | 'kvm' | 'tcg';
  /** Whether tenants may share the pages of one template; they are a side channel, so the default elsewhere is no. */
  readonly shareTemplatePages: boolean;
  readonly recipeDir?: string;
  /** How much room the host has; a test says how much. */
  readonly readRoom?: (directory: string) => Promise<HostRoom>;
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
  /** Of all sizes that are prepared. */
  readonly #memories: TenantMemories[] = [];
  readonly #snapshots = new SnapshotWorker();
  readonly #host: LaunchHost;
  #image: Promise<Image> | undefined;
  #finding: AcceleratorFinding | undefined;
  #closed = false;

  constructor(options: QemuRuntimeOptions, qemuPath: string, qemuVersion: string, cgroups: CgroupRoot | undefined) {
    this.#options = options;
    this.#qemuPath = qemuPath;
    this.#qemuVersion = qemuVersion;
    this.#cgroups = cgroups;
    this.#host = {
      cacheDir: options.cacheDir,
      cgroups,
      qemuVersion,
      snapshots: this.#snapshots,
      jail: (cgroupFiles, fileSizeMaxBytes) => this.#jail(cgroupFiles, fileSizeMaxBytes),
    };
  }

  /** Known after the first `prepare`; before it the weaker tier is stated. */
  get capabilities(): RuntimeCapabilities {
    const accelerator = this.#finding?.accelerator ?? 'tcg';
    return {
      runtime: 'qemu',
      tier: tierOf(accelerator),
      possibleTier: this.#finding === undefined && this.#options.accelerator !== 'tcg' ? 'vm-kvm' : tierOf(accelerator),
      accelerator,
      runsCode: true,
      scratch: 'disk',
      memoryOverrun: 'process',
      memorySuspend: true,
      fork: true,
      spares: this.#options.shareTemplatePages ? 'shared' : 'per-tenant',
      network: 'channel-only',
    };
  }

  /** Why that accelerator was chosen; undefined before the first `prepare`. */
  get accelerator(): AcceleratorFinding | undefined {
    return this.#finding;
  }

  /** Boots a guest of the newest image that is here, once; without an image the weaker tier stays stated. */
  async prove(): Promise<void> {
    const image = (await listImages(this.#options.cacheDir)).at(0);
    if (image !== undefined) this.#finding ??= await this.findAccelerator(image);
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
    const fitting = Math.floor((idleCopiesPart * totalmem()) / sizeBytes);
    const memories = new TenantMemories(() => loadTemplateMemory(template.memoryPath, sizeBytes), {
      maxCount: Math.max(idleCopiesKeptCount, fitting),
      keptCount: idleCopiesKeptCount,
      keptMs: idleCopiesKeptMs,
    });
    this.#memories.push(memories);
    return { template, memories };
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

  launch(spec: LaunchSpec, options: { readonly signal?: AbortSignal } = {}): Promise<QemuMachine> {
    return this.#launch(spec, options, {});
  }

  restore(spec: LaunchSpec, source: Coming<SnapshotSource>, options: RestoreOptions): Promise<QemuMachine> {
    return this.#launch(spec, options, { snapshot: { source, renew: options.renew } });
  }

  async launchSpare(spec: SpareSpec, options: { readonly signal?: AbortSignal } = {}): Promise<SpareMachine> {
    const machine = await this.#launch(spec, options, {});
    await launchInTime(options.signal, (signal) => rehearse(machine, signal));
    return new ConfirmedSpare(machine, spec);
  }

  async #launch(
    spec: LaunchSpec | SpareSpec,
    options: { readonly signal?: AbortSignal },
    content: Pick<LaunchOrder, 'snapshot'>,
  ): Promise<QemuMachine> {
    if (this.#closed) throw new BulkheadError('session_ended', 'This runtime is closed.');
    const { template, memories } = await this.#prepare(spec.size, options);
    await this.#ensureRoom(spec.size);
    const copy = this.#whoseMemory(spec.tenant);
    const started = performance.now();
    const machine = await launchInTime(options.signal, async (signal) => {
      const order = { whose: { session: null, ...spec }, template, memory: memories.acquire(copy) };
      const vmm = await startVmm(this.#host, order);
      return await launchMachine(this.#host, vmm, {
        spec: 'session' in spec ? spec : undefined,
        ...content,
        started,
        signal,
      });
    });
    this.#machines.add(machine);
    void machine.exited.then(() => this.#machines.delete(machine));
    return machine;
  }

  async #ensureRoom(size: SizeName): Promise<void> {
    const read = this.#options.readRoom ?? readRoom;
    try {
      checkRoom(await read(this.#options.cacheDir), size);
    } catch (error) {
      const given = await Promise.all(this.#memories.map((memories) => memories.giveWay()));
      if (!given.includes(true)) throw error;
      checkRoom(await read(this.#options.cacheDir), size);
    }
  }

  #whoseMemory(tenant: TenantId | null): string {
    if (this.#options.shareTemplatePages) return 'shared';
    if (tenant !== null) return tenant;
    throw new BulkheadError('unsupported', "Tenants do not share a template's pages here: a machine is one tenant's.");
  }

  /** A process keeps the name of its launch: whose a machine of ours has become since then we know ourselves. */
  async list(): Promise<readonly MachineRecord[]> {
    const byId = new Map(findVmms().map(({ id, tenant, session }) => [id, { id, tenant, session }]));
    for (const machine of this.#machines) if (byId.has(machine.id)) byId.set(machine.id, machine.record);
    return [...byId.values()];
  }

  async sweep(): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const { id, pid, owned } of findVmms()) {
      if (!owned && killProcess(pid)) removed.push(`process ${pid} of ${id}`);
    }
    if (this.#cgroups !== undefined) removed.push(...(await sweepGroups(this.#cgroups)));
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
    await Promise.allSettled(this.#prepared.values());
    for (const memories of this.#memories) memories.close();
    this.#prepared.clear();
    await this.#snapshots[Symbol.asyncDispose]();
  }
}

function findVmms(): FoundMachine[] {
  return findMachines().filter(({ form }) => form === 'vmm');
}
