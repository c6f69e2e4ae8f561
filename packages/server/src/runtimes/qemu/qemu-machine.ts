// One launched machine: a VMM, its channel, its control group, and the single way in which all of it ends.

import { ftruncateSync } from 'node:fs';
import { BulkheadError, type MachineId, type Tier } from '@bulkhead/protocol';
import type { Guest } from '../../guest/guest.ts';
import { rewind } from '../../lib/host-calls.ts';
import { describeCaptureFailure } from '../launch-in-time.ts';
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
import { type Whose, makeUnique } from '../make-unique.ts';
import { readOwnBytes, readProcessMemory } from '../process-memory.ts';
import { savedStatePath, tierOf } from './qemu-command.ts';
import { type SnapshotHeader, snapshotVersion } from '../../snapshots/sealed-file.ts';
import type { SnapshotWorker } from './snapshot-worker.ts';
import { type StartedVmm, machineParts } from './started-vmm.ts';
import { pageBytes } from './touched-pages.ts';

const mib = 1024 * 1024;
/** With more than this of its own, some 30 MiB of it QEMU's, the guest is asked to give back what it does not need before it is written out. */
const settleFromBytes = 96 * mib;

export interface QemuMachineParts {
  readonly started: StartedVmm;
  /** Undefined for a machine that is nobody's yet. */
  readonly spec: LaunchSpec | undefined;
  readonly bootId: string;
  /** Of the identity that it has been given. */
  readonly epoch: number;
  readonly timings: LaunchTimings;
  readonly hostPids: readonly number[];
  readonly qemuVersion: string;
  readonly snapshots: SnapshotWorker;
}

export class QemuMachine implements ClaimableMachine {
  readonly id: MachineId;
  readonly tier: Tier;
  readonly bootId: string;
  readonly guest: Guest;
  readonly hostPids: readonly number[];
  readonly exited: Promise<MachineExit>;
  readonly #parts: QemuMachineParts;
  #spec: LaunchSpec | undefined;
  #timings: LaunchTimings;
  #epoch: number;
  #settleExit: (exit: MachineExit) => void = () => undefined;
  #ending: Promise<void> | undefined;

  constructor(parts: QemuMachineParts) {
    const { id, guest, template } = parts.started;
    this.id = id;
    this.tier = tierOf(template.hardware.accelerator);
    this.bootId = parts.bootId;
    this.guest = guest;
    this.hostPids = parts.hostPids;
    this.#parts = parts;
    this.#spec = parts.spec;
    this.#timings = parts.timings;
    this.#epoch = parts.epoch;
    this.exited = new Promise((resolve) => (this.#settleExit = resolve));
    void this.#watch();
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

  /** Makes a machine that is nobody's a session's. Errors: those of the guest; `machine_lost` when another machine answers than the one that was launched. */
  async becomeOf(spec: LaunchSpec, signal?: AbortSignal): Promise<void> {
    const started = performance.now();
    await this.#identify(spec.session, { renew: true, ...(signal === undefined ? {} : { signal }) });
    this.#spec = spec;
    this.#timings = { spawnedMs: 0, restoredMs: 0, confirmedMs: performance.now() - started };
  }

  /** The guest's memory is a private mapping of the template's: what it has written is anonymous. */
  async residentBytes(): Promise<number> {
    return this.hostPids.reduce((sum, pid) => sum + readProcessMemory(pid).anonymousBytes, 0);
  }

  async capture(coming: Coming<SnapshotTarget>): Promise<SnapshotFacts> {
    const { started, snapshots } = this.#parts;
    const { guest, vmm, files, template } = started;
    if (readOwnBytes(this.hostPids[0] ?? 0) > settleFromBytes) await guest.settle();
    const from = performance.now();
    try {
      await guest.freeze();
      await vmm.qmp.execute('stop');
      ftruncateSync(files.state, 0);
      rewind(files.savedState);
      await vmm.qmp.execute('xen-save-devices-state', { filename: savedStatePath });
      const target = await coming;
      const { bytes, pages, scratchBytes } = await snapshots.capture({
        type: 'capture',
        machine: machineParts(started, this.hostPids[0] ?? 0),
        template: { memory: files.memory.fd, data: await files.memory.sealed },
        target: target.fd,
        key: target.key,
        header: this.#header(target),
      });
      const facts = { bytes, memoryBytes: pages * pageBytes, scratchBytes, epoch: this.#epoch };
      return { ...facts, templateDigest: template.digest, pausedMs: performance.now() - from };
    } catch (error) {
      if (BulkheadError.is(error, 'state_conflict')) throw error;
      await this.resume();
      throw describeCaptureFailure(error);
    }
  }

  async resume(): Promise<void> {
    await this.#parts.started.vmm.qmp.execute('cont');
    await this.#identify(this.spec.session, { renew: false });
  }

  /** Another identity of its own for a machine that is nobody's. */
  async renew(): Promise<void> {
    await this.#identify(this.id, { renew: true });
  }

  async #identify(whose: Whose, how: { readonly renew: boolean; readonly signal?: AbortSignal }): Promise<void> {
    const { bootId, epoch } = await makeUnique(this.guest, whose, { after: this.#epoch, ...how });
    if (bootId !== this.bootId)
      throw new BulkheadError('machine_lost', 'The machine is not the one that was launched.');
    this.#epoch = epoch;
  }

  #header({ snapshot, kind, createdAtUnixMs }: SnapshotTarget): SnapshotHeader {
    const { started, qemuVersion } = this.#parts;
    const { template } = started;
    const { spec } = this;
    return {
      version: snapshotVersion,
      snapshot,
      tenant: spec.tenant,
      session: spec.session,
      kind,
      epoch: this.#epoch,
      templateDigest: template.digest,
      accelerator: template.hardware.accelerator,
      size: spec.size,
      vmm: qemuVersion,
      createdAtUnixMs,
    };
  }

  /** A machine whose process or channel ended, for whatever reason, is destroyed: half a machine is of no use to anybody. */
  async #watch(): Promise<void> {
    const { guest, vmm } = this.#parts.started;
    const crash = vmm.exited.then(async (words): Promise<MachineExit> => {
      // What runs in the machine learns of its end from the channel, which closes by itself when the process is gone.
      await Promise.race([guest.ended, delay(500)]);
      return { reason: 'crashed', detail: words };
    });
    const channel = guest.ended.then(async (end): Promise<MachineExit> => {
      if (end.reason === 'protocol_violation' || end.reason === 'unresponsive')
        return { reason: end.reason, detail: end.detail };
      // The channel of a machine that ends closes a moment before its process does; QEMU's words say more.
      return Promise.race([crash, delay(500).then((): MachineExit => ({ reason: 'crashed', detail: end.detail }))]);
    });
    const exit = await Promise.race([crash, channel]);
    await this.destroy(exit.reason, exit.detail);
  }

  destroy(reason: MachineExit['reason'], detail: string): Promise<void> {
    this.#ending ??= this.#end({ reason, detail });
    return this.#ending;
  }

  async #end(exit: MachineExit): Promise<void> {
    try {
      await this.#parts.started[Symbol.asyncDispose]();
    } finally {
      this.#settleExit(exit);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy('destroyed', 'released by its owner');
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
