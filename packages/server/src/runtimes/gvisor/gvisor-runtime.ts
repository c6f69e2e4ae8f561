// The `gvisor` runtime: every machine is a container on a kernel in user space, a copy of a warmed one, made unique before anybody has it. The host's
// own kernel is behind that one: a weaker wall than a virtual machine, and stated as such.

import { BulkheadError, type SizeName } from '@bulkhead/protocol';
import { buildImage } from '../../images/image-build.ts';
import type { Image } from '../../images/image.ts';
import { type HostRoom, checkRoom, readRoom } from '../admission.ts';
import { type CgroupRoot, openCgroups, sweepGroups } from '../cgroups.ts';
import { JobThread } from '../job-thread.ts';
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
import { sweepImages } from './checkpoint.ts';
import { type LaunchHost, type LaunchOrder, launchMachine } from './gvisor-launch.ts';
import type { GvisorMachine } from './gvisor-machine.ts';
import { type PlatformFinding, findPlatform } from './platform.ts';
import { ensureRootTree, sweepOwned, sweepRootTrees } from './root-tree.ts';
import { type Runsc, findRunsc } from './runsc-program.ts';
import type { SnapshotJob } from './snapshot-thread.ts';
import { type Template, type TemplateOptions, ensureTemplate, measureColdBoot, sweepTemplates } from './template.ts';
import { join } from 'node:path';

export interface GvisorRuntimeOptions {
  readonly cacheDir: string;
  readonly recipeDir?: string;
  /** How much room the host has; a test says how much. */
  readonly readRoom?: (directory: string) => Promise<HostRoom>;
}

/** Opens the runtime, having run a container once to see that it can. Errors: `host_unsupported`. */
export async function createGvisorRuntime(options: GvisorRuntimeOptions): Promise<GvisorRuntime> {
  const runsc = await findRunsc();
  const [finding, cgroups] = await Promise.all([findPlatform(options.cacheDir, runsc), openCgroups()]);
  return new GvisorRuntime(options, runsc, finding, cgroups);
}

export class GvisorRuntime implements Runtime {
  readonly capabilities: RuntimeCapabilities;
  /** Why that platform was chosen. */
  readonly finding: PlatformFinding;
  readonly #options: GvisorRuntimeOptions;
  readonly #host: LaunchHost;
  readonly #machines = new Set<GvisorMachine>();
  readonly #templates = new Map<SizeName, Promise<Template>>();
  readonly #thread = new JobThread<SnapshotJob>(new URL('./snapshot-thread.ts', import.meta.url));
  #image: Promise<Image> | undefined;
  #closed = false;

  constructor(options: GvisorRuntimeOptions, runsc: Runsc, finding: PlatformFinding, cgroups: CgroupRoot | undefined) {
    const { platform } = finding;
    this.#options = options;
    this.finding = finding;
    this.#host = { cacheDir: options.cacheDir, cgroups, runsc, platform, thread: this.#thread };
    this.capabilities = {
      runtime: 'gvisor',
      tier: 'user-kernel',
      possibleTier: 'user-kernel',
      accelerator: platform,
      runsCode: true,
      scratch: 'memory',
      // The agent ends what takes too much, but it has to be given the processor in time.
      memoryOverrun: 'machine',
      memorySuspend: true,
      fork: true,
      // A copy of a template shares no page with another.
      spares: 'shared',
      network: 'channel-only',
    };
  }

  async prepare(size: SizeName, options: PrepareOptions = {}): Promise<void> {
    await this.#prepare(size, options);
  }

  #prepare(size: SizeName, options: PrepareOptions): Promise<Template> {
    const earlier = this.#templates.get(size);
    if (earlier !== undefined) return earlier;
    const making = this.#templateOptions(size, options).then(ensureTemplate);
    this.#templates.set(size, making);
    // A failure is not remembered: the next call tries again.
    making.catch(() => this.#templates.delete(size));
    return making;
  }

  async #templateOptions(size: SizeName, { signal, onProgress }: PrepareOptions): Promise<TemplateOptions> {
    const { cacheDir, recipeDir } = this.#options;
    const image = await this.#ensureImage({
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const rootDir = await ensureRootTree({ cacheDir, image, recipeDir, onProgress });
    const { runsc, platform } = this.#host;
    return { cacheDir, runsc, platform, imageDigest: image.digest, rootDir, size, onProgress, signal };
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

  async measureColdBoot(size: SizeName): Promise<number> {
    return await measureColdBoot(await this.#templateOptions(size, {}));
  }

  launch(spec: LaunchSpec, options: { readonly signal?: AbortSignal } = {}): Promise<GvisorMachine> {
    return this.#launch(spec, options, {});
  }

  async restore(spec: LaunchSpec, source: Coming<SnapshotSource>, options: RestoreOptions): Promise<GvisorMachine> {
    return await this.#launch(spec, options, { snapshot: { source: await source, renew: options.renew } });
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
  ): Promise<GvisorMachine> {
    if (this.#closed) throw new BulkheadError('session_ended', 'This runtime is closed.');
    const template = await this.#prepare(spec.size, options);
    checkRoom(await (this.#options.readRoom ?? readRoom)(this.#options.cacheDir), spec.size);
    const started = performance.now();
    const machine = await launchInTime(options.signal, (signal) =>
      launchMachine(this.#host, { spec, template, ...content, started, signal }),
    );
    this.#machines.add(machine);
    void machine.exited.then(() => this.#machines.delete(machine));
    return machine;
  }

  /** A process keeps the name of its launch: whose a machine of ours has become since then we know ourselves. */
  async list(): Promise<readonly MachineRecord[]> {
    const byId = new Map(findContainers().map(({ id, tenant, session }) => [id, { id, tenant, session }]));
    // One that stands still, written out, has no process.
    for (const machine of this.#machines) byId.set(machine.id, machine.record);
    return [...byId.values()];
  }

  async sweep(): Promise<readonly string[]> {
    const { cacheDir, cgroups } = this.#host;
    const removed: string[] = [];
    for (const { id, pid, owned } of findContainers()) {
      if (!owned && killProcess(pid)) removed.push(`process ${pid} of ${id}`);
    }
    if (cgroups !== undefined) removed.push(...(await sweepGroups(cgroups)));
    removed.push(...(await sweepOwned(join(cacheDir, 'containers'), /^bulkhead\.mch_.*\.(\d+-\d+)$/)));
    removed.push(...(await sweepImages()), ...(await sweepRootTrees(cacheDir)), ...(await sweepTemplates(cacheDir)));
    return removed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#machines].map((machine) => machine[Symbol.asyncDispose]()));
    this.#templates.clear();
    await this.#thread[Symbol.asyncDispose]();
  }
}

function findContainers(): FoundMachine[] {
  return findMachines().filter(({ form }) => form === 'container');
}
