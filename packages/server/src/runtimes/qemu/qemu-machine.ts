// One launched machine: a VMM, its channel, its control group, and the single way in which all of it ends.

import type { MachineId, Tier } from '@bulkhead/protocol';
import type { Guest } from '../../guest/guest.ts';
import type { LaunchSpec, LaunchTimings, Machine, MachineExit } from '../runtime.ts';
import type { Vmm } from './vmm.ts';

export interface QemuMachineParts {
  readonly id: MachineId;
  readonly spec: LaunchSpec;
  readonly tier: Tier;
  readonly bootId: string;
  readonly timings: LaunchTimings;
  readonly guest: Guest;
  readonly vmm: Vmm;
  readonly hostPids: readonly number[];
  /** Takes back what the machine had on the host, after its processes are gone. */
  readonly release: () => Promise<void>;
}

export class QemuMachine implements Machine {
  readonly id: MachineId;
  readonly spec: LaunchSpec;
  readonly tier: Tier;
  readonly bootId: string;
  readonly timings: LaunchTimings;
  readonly guest: Guest;
  readonly hostPids: readonly number[];
  readonly exited: Promise<MachineExit>;
  readonly #parts: QemuMachineParts;
  #settleExit: (exit: MachineExit) => void = () => undefined;
  #ending: Promise<void> | undefined;

  constructor(parts: QemuMachineParts) {
    this.id = parts.id;
    this.spec = parts.spec;
    this.tier = parts.tier;
    this.bootId = parts.bootId;
    this.timings = parts.timings;
    this.guest = parts.guest;
    this.hostPids = parts.hostPids;
    this.#parts = parts;
    this.exited = new Promise((resolve) => (this.#settleExit = resolve));
    void this.#watch();
  }

  /** A machine whose process or channel ended, for whatever reason, is destroyed: half a machine is of no use to anybody. */
  async #watch(): Promise<void> {
    const { guest, vmm } = this.#parts;
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
    const { guest, vmm, release } = this.#parts;
    try {
      await guest[Symbol.asyncDispose]();
    } finally {
      await vmm.kill();
      await release();
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
