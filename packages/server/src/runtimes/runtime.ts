// The runtime contract: what makes machines. Small and honest: what a runtime cannot do it says in `capabilities` and refuses
// with `unsupported`; nothing above this file asks which runtime it talks to.

import type { Accelerator, MachineId, SessionId, SizeName, TenantId, Tier } from '@bulkhead/protocol';
import type { Guest } from '../guest/guest.ts';

export const runtimeNames = ['qemu', 'fake'] as const;
export type RuntimeName = (typeof runtimeNames)[number];

export interface RuntimeCapabilities {
  readonly runtime: RuntimeName;
  readonly tier: Tier;
  readonly accelerator: Accelerator;
  readonly memorySuspend: boolean;
  readonly fork: boolean;
  /** `channel-only`: the machine has no network device at all. */
  readonly network: 'channel-only' | 'none';
}

export interface LaunchSpec {
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly size: SizeName;
}

/** Milliseconds from the call of `launch`. */
export interface LaunchTimings {
  /** The machine's process exists. */
  readonly spawnedMs: number;
  /** Its processors run. */
  readonly restoredMs: number;
  /** The guest proved that it took its new identity. */
  readonly confirmedMs: number;
}

/** Why a machine is no more; `detail` is for operators and may quote the VMM's last words. */
export interface MachineExit {
  readonly reason: 'destroyed' | 'crashed' | 'protocol_violation' | 'unresponsive';
  readonly detail: string;
}

/** A launched, confirmed, unique machine. Disposal destroys it and returns when it is provably gone. */
export interface Machine extends AsyncDisposable {
  readonly id: MachineId;
  readonly spec: LaunchSpec;
  readonly tier: Tier;
  readonly bootId: string;
  readonly timings: LaunchTimings;
  /** The host's end of the channel. */
  readonly guest: Guest;
  /** Settles once, when the machine is gone, whoever ended it. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** Process ids on the host that belong to this machine, the VMM's own first; for audit and tests. */
  readonly hostPids: readonly number[];
  /** Ends the machine for a reason; idempotent; returns when it is gone. */
  destroy(reason: MachineExit['reason'], detail: string): Promise<void>;
}

export interface MachineRecord {
  readonly id: MachineId;
  readonly tenant: TenantId;
  readonly session: SessionId;
}

export interface Runtime extends AsyncDisposable {
  readonly capabilities: RuntimeCapabilities;
  /**
   * Makes what `launch` needs for a size and was not there yet (image, template), reporting progress; quick when there is nothing to do.
   * Errors: `image_build_failed`, `template_failed`, `host_unsupported`, `disk_full`, `cancelled`.
   */
  prepare(size: SizeName, options?: PrepareOptions): Promise<void>;
  /**
   * A machine of its own for one session. A launch that fails or is cancelled leaves nothing behind.
   * Errors: `launch_failed`, `launch_timeout`, `capacity_exhausted`, `cancelled`.
   */
  launch(spec: LaunchSpec, options?: { readonly signal?: AbortSignal }): Promise<Machine>;
  /** Milliseconds that a machine takes without whatever `launch` saves; for the benchmarks, where a runtime can tell. */
  measureColdBoot?(size: SizeName): Promise<number>;
  /** Every machine that this host has, whoever made it. */
  list(): Promise<readonly MachineRecord[]>;
  /** Removes what an earlier, killed process left on the host; returns what it removed, a line each. */
  sweep(): Promise<readonly string[]>;
}

export interface PrepareOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: string) => void;
}
