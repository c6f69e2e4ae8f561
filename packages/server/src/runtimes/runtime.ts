// The runtime contract: what makes machines. Small and honest: what a runtime cannot do it says in `capabilities` and refuses
// with `unsupported`; nothing above this file asks which runtime it talks to.

import type {
  Accelerator,
  MachineId,
  RuntimeName,
  SessionId,
  SizeName,
  SnapshotId,
  TenantId,
  Tier,
} from '@bulkhead/protocol';
import type { Guest } from '../guest/guest.ts';
import type { SnapshotKind } from '../snapshots/sealed-file.ts';

export interface RuntimeCapabilities {
  readonly runtime: RuntimeName;
  /** As far as it has been proved; after `prepare`, for good. */
  readonly tier: Tier;
  /** What the tier may turn out to be, once the runtime has tried. */
  readonly possibleTier: Tier;
  readonly accelerator: Accelerator;
  /** Whether its machines run code in a system of their own; the fake one plays that they do. */
  readonly runsCode: boolean;
  /** What lies behind the files of a session: a disk of the host, or the machine's share of its memory, which is smaller. */
  readonly scratch: 'disk' | 'memory' | 'none';
  /** What may end when guest code takes more memory than there is, quicker than it can be stopped: a process of its own, or all of the machine. */
  readonly memoryOverrun: 'process' | 'machine';
  readonly memorySuspend: boolean;
  readonly fork: boolean;
  /** Whose a machine may become that was launched for nobody: any tenant's, or that tenant's whose copy of the template it came from. */
  readonly spares: 'shared' | 'per-tenant' | 'none';
  /** `channel-only`: the machine has no network device at all. */
  readonly network: 'channel-only' | 'none';
}

export interface LaunchSpec {
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly size: SizeName;
}

/** What a machine is launched for that no session has yet. */
export interface SpareSpec {
  /** The one tenant that it may become a machine of; any, where the runtime's `spares` are `shared`. */
  readonly tenant: TenantId | null;
  readonly size: SizeName;
}

/** Milliseconds from the call of `launch`, or of `claim` for a machine that was there: it did not have to be spawned and restored. */
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

/** What need not be there yet: what can be done without it is done meanwhile. */
export type Coming<T> = T | Promise<T>;

/** Where a machine is written to: an open file, and the key that seals it. The caller keeps both. */
export interface SnapshotTarget {
  readonly fd: number;
  readonly key: Uint8Array;
  readonly snapshot: SnapshotId;
  readonly kind: SnapshotKind;
  readonly createdAtUnixMs: number;
}

/** What a snapshot turned out to be. */
export interface SnapshotFacts {
  readonly bytes: number;
  /** Memory that the machine has written to, and what lay on the scratch disk. */
  readonly memoryBytes: number;
  readonly scratchBytes: number;
  /** The identity in force in it. */
  readonly epoch: number;
  readonly templateDigest: string;
  /** How long the machine stood still for it so far. */
  readonly pausedMs: number;
}

/** A snapshot to make a machine from, and whose it has to be: anything else is refused. */
export interface SnapshotSource {
  readonly fd: number;
  readonly key: Uint8Array;
  readonly snapshot: SnapshotId;
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly epoch: number;
}

export interface RestoreOptions {
  /** The same session again, with its generators as they were, or a copy that must differ from all others. */
  readonly renew: boolean;
  readonly signal?: AbortSignal;
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
  /** Identities that it has had, those before a suspension included. */
  readonly epoch: number;
  /** Bytes of the host's memory that would be free if it were not there, all of its processes together. */
  residentBytes(): Promise<number>;
  /**
   * Stops the machine and writes it out. It stands still until `resume` or `destroy`; when it cannot be written, it goes on by itself.
   * Errors: `state_conflict` while an operation is under way, `disk_full`, `unsupported`, those of the guest, and that of `target`.
   */
  capture(target: Coming<SnapshotTarget>): Promise<SnapshotFacts>;
  /** Lets a captured machine go on, in a new epoch, with the clock set. */
  resume(): Promise<void>;
  /** Ends the machine for a reason; idempotent; returns when it is gone. */
  destroy(reason: MachineExit['reason'], detail: string): Promise<void>;
}

/**
 * A machine that runs, has confirmed an identity and is nobody's. There is no such value before it has confirmed, and nothing here reaches
 * its guest: all that can be done with it is to claim it, once, or to dispose of it, which does nothing once it is claimed.
 */
export interface SpareMachine extends AsyncDisposable {
  readonly id: MachineId;
  /** Settles once, when the machine is gone. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /**
   * Makes it the session's: a new identity, new seeds, the time. Errors: `state_conflict` for a machine that was claimed before or may not
   * become this tenant's; `machine_lost` when it ended or is not the machine that confirmed; `cancelled`. It is gone after the last two.
   */
  claim(spec: LaunchSpec, options?: { readonly signal?: AbortSignal }): Promise<Machine>;
}

/** Without tenant and session: a spare machine. */
export interface MachineRecord {
  readonly id: MachineId;
  readonly tenant: TenantId | null;
  readonly session: SessionId | null;
}

export interface Runtime extends AsyncDisposable {
  readonly capabilities: RuntimeCapabilities;
  /** Finds out what `capabilities` leave open, as far as nothing has to be built for it; quick the second time. */
  prove?(): Promise<void>;
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
  /** A machine that is launched ahead of the session that will have it. Errors: as `launch`; `unsupported`. */
  launchSpare(spec: SpareSpec, options?: { readonly signal?: AbortSignal }): Promise<SpareMachine>;
  /**
   * A machine from a snapshot, for the session that was captured or for another. Errors: as `launch`; `snapshot_invalid` for one that is damaged or
   * somebody else's, `snapshot_incompatible` when its template or VMM is not here any more, `unsupported`; that of `source`.
   */
  restore(spec: LaunchSpec, source: Coming<SnapshotSource>, options: RestoreOptions): Promise<Machine>;
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
