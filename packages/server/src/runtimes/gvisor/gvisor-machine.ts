// One launched container: its sandbox, its channel, its control group, and the single way in which all of it ends.
//
// Writing a container out ends it: runsc can do it so alone. The machine is then what was written, and goes on as a new container from that, behind the
// same channel; nothing that was running can tell.

import { join } from 'node:path';
import { BulkheadError, type MachineId, type Tier } from '@bulkhead/protocol';
import type { Guest } from '../../guest/guest.ts';
import { type SnapshotHeader, snapshotVersion } from '../../snapshots/sealed-file.ts';
import { describeCaptureFailure } from '../launch-in-time.ts';
import { type Whose, makeUnique } from '../make-unique.ts';
import { readProcessMemory } from '../process-memory.ts';
import type {
  Coming,
  LaunchSpec,
  LaunchTimings,
  MachineExit,
  MachineRecord,
  SnapshotFacts,
  SnapshotTarget,
} from '../runtime.ts';
import type { ClaimableMachine } from '../spare.ts';
import { ImageFolder, checkpoint } from './checkpoint.ts';
import type { ContainerChannel } from './container-channel.ts';
import { type LaunchHost, type Place, startSandbox } from './gvisor-launch.ts';
import type { Sandbox } from './sandbox.ts';
import type { SealResult } from './snapshot-content.ts';
import type { Template } from './template.ts';

const lastWordsMs = 500;

export interface GvisorMachineParts {
  readonly place: Place;
  /** Undefined for a machine that is nobody's yet. */
  readonly spec: LaunchSpec | undefined;
  readonly bootId: string;
  readonly epoch: number;
  readonly timings: LaunchTimings;
  readonly guest: Guest;
  readonly channel: ContainerChannel;
  readonly sandbox: Sandbox;
  readonly stateDir: string;
  readonly host: LaunchHost;
  readonly template: Template;
  /** Takes back what the machine had on the host, after its processes are gone. */
  readonly release: () => Promise<void>;
}

export class GvisorMachine implements ClaimableMachine {
  readonly id: MachineId;
  readonly tier: Tier = 'user-kernel';
  readonly bootId: string;
  readonly guest: Guest;
  readonly exited: Promise<MachineExit>;
  readonly #exited = Promise.withResolvers<MachineExit>();
  readonly #parts: GvisorMachineParts;
  #spec: LaunchSpec | undefined;
  #timings: LaunchTimings;
  #epoch: number;
  #sandbox: Sandbox;
  #stateDir: string;
  #sandboxes = 1;
  /** What was written, while the machine stands still. */
  #image: ImageFolder | undefined;
  #standsStill = false;
  #ending: Promise<void> | undefined;

  constructor(parts: GvisorMachineParts) {
    this.id = parts.place.id;
    this.bootId = parts.bootId;
    this.guest = parts.guest;
    this.exited = this.#exited.promise;
    this.#parts = parts;
    this.#spec = parts.spec;
    this.#timings = parts.timings;
    this.#epoch = parts.epoch;
    this.#sandbox = parts.sandbox;
    this.#stateDir = parts.stateDir;
    void this.#watch(this.#sandbox);
    void this.#watchChannel();
  }

  /** Nobody is handed a machine that is nobody's. */
  get spec(): LaunchSpec {
    if (this.#spec === undefined) throw new BulkheadError('internal', "This machine is nobody's yet.");
    return this.#spec;
  }

  /** Whose it is now. */
  get record(): MachineRecord {
    const { tenant = null, session = null } = this.#spec ?? {};
    return { id: this.id, tenant, session };
  }

  get timings(): LaunchTimings {
    return this.#timings;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get hostPids(): readonly number[] {
    return this.#standsStill ? [] : this.#sandbox.pids();
  }

  async becomeOf(spec: LaunchSpec, signal?: AbortSignal): Promise<void> {
    const started = performance.now();
    await this.#identify(spec.session, { renew: true, ...(signal === undefined ? {} : { signal }) });
    this.#spec = spec;
    this.#timings = { spawnedMs: 0, restoredMs: 0, confirmedMs: performance.now() - started };
  }

  async renew(): Promise<void> {
    await this.#identify(this.id, { renew: true });
  }

  /** The guest's memory is a file in memory that its processes share. */
  async residentBytes(): Promise<number> {
    return this.hostPids.reduce((sum, pid) => sum + readProcessMemory(pid).proportionalBytes, 0);
  }

  async capture(coming: Coming<SnapshotTarget>): Promise<SnapshotFacts> {
    const target = await coming;
    const { host, channel, template, place } = this.#parts;
    const started = performance.now();
    await using undo = new AsyncDisposableStack();
    try {
      await this.guest.freeze();
      const image = undo.use(await ImageFolder.make());
      const { runscPid } = this.#sandbox;
      if (runscPid === undefined) throw new Error('runsc is gone');
      // It ends by being written: that is no crash, and the channel waits for the next.
      this.#standsStill = true;
      channel.detach();
      await checkpoint({ ...host, stateDir: this.#stateDir, id: place.id, runscPid, folder: image.path });
      undo.move();
      this.#image = image;
      await this.#sandbox.kill();
      const { imagePath } = image;
      const job = {
        type: 'seal',
        imagePath,
        target: target.fd,
        key: target.key,
        header: this.#header(target),
      } as const;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the thread, our own code, returns for this job
      const { bytes, imageBytes } = (await host.thread.run(job)) as SealResult;
      return {
        bytes,
        memoryBytes: imageBytes,
        scratchBytes: 0,
        epoch: this.#epoch,
        templateDigest: template.digest,
        pausedMs: performance.now() - started,
      };
    } catch (error) {
      if (BulkheadError.is(error, 'state_conflict')) throw error;
      await this.resume();
      throw describeCaptureFailure(error);
    }
  }

  async resume(): Promise<void> {
    const image = this.#image;
    this.#standsStill = false;
    if (image === undefined) {
      // It was not written, and runs on, or it is gone.
      this.#parts.channel.reattach();
      void this.#watch(this.#sandbox);
    } else {
      const { host, place, channel } = this.#parts;
      if (this.#ending !== undefined) throw new BulkheadError('machine_lost', 'The machine has ended.');
      this.#stateDir = join(place.directory, `state-${this.#sandboxes++}`);
      this.#sandbox = startSandbox(host, place, image.path, this.#stateDir);
      this.#image = undefined;
      void this.#watch(this.#sandbox);
      channel.attach(this.#sandbox);
    }
    try {
      await this.#identify(this.spec.session, { renew: false });
    } finally {
      // The container has read it, or is gone.
      await image?.[Symbol.asyncDispose]();
    }
  }

  async #identify(whose: Whose, how: { readonly renew: boolean; readonly signal?: AbortSignal }): Promise<void> {
    const { bootId, epoch } = await makeUnique(this.guest, whose, { after: this.#epoch, ...how });
    if (bootId !== this.bootId)
      throw new BulkheadError('machine_lost', 'The machine is not the one that was launched.');
    this.#epoch = epoch;
  }

  #header({ snapshot, kind, createdAtUnixMs }: SnapshotTarget): SnapshotHeader {
    const { host, template } = this.#parts;
    const { tenant, session, size } = this.spec;
    return {
      version: snapshotVersion,
      snapshot,
      tenant,
      session,
      kind,
      epoch: this.#epoch,
      templateDigest: template.digest,
      accelerator: host.platform,
      size,
      vmm: host.runsc.version,
      createdAtUnixMs,
    };
  }

  /** A sandbox that ends takes the machine with it, unless it was written out. */
  async #watch(sandbox: Sandbox): Promise<void> {
    const watching = new AbortController();
    const gofer = sandbox.goferExited(watching.signal).then(() => 'its gofer ended');
    // Given up when the sandbox ended first.
    const words = await Promise.race([sandbox.exited, gofer.catch(() => sandbox.exited)]);
    watching.abort();
    // What runs in the machine learns of its end from the channel, which closes by itself when the process is gone.
    await Promise.race([this.guest.ended, delay(lastWordsMs)]);
    if (this.#sandbox === sandbox && !this.#standsStill) await this.destroy('crashed', words);
  }

  async #watchChannel(): Promise<void> {
    const { reason, detail } = await this.guest.ended;
    const exit = reason === 'protocol_violation' || reason === 'unresponsive' ? reason : 'crashed';
    // The channel closes a moment before its process is gone; runsc's words say more.
    const words = exit === 'crashed' ? await Promise.race([this.#sandbox.exited, delay(lastWordsMs)]) : undefined;
    await this.destroy(exit, words ?? detail);
  }

  destroy(reason: MachineExit['reason'], detail: string): Promise<void> {
    this.#ending ??= this.#end({ reason, detail });
    return this.#ending;
  }

  async #end(exit: MachineExit): Promise<void> {
    try {
      await this.guest[Symbol.asyncDispose]();
    } finally {
      await this.#sandbox.kill();
      await this.#image?.[Symbol.asyncDispose]();
      await this.#parts.release();
      this.#exited.resolve(exit);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy('destroyed', 'released by its owner');
  }
}

function delay(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms).unref());
}
