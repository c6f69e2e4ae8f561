// A runtime without machines, for tests: it steps on an injected clock and fails on command. It isolates nothing and says so
// (tier `none`). A plan decides what each launch does; `seededPlan` makes one from a seed.

import {
  BulkheadError,
  type MachineId,
  type RuntimeName,
  type SnapshotId,
  type Tier,
  makeId,
} from '@bulkhead/protocol';
import { type Clock, systemClock } from '../../lib/clock.ts';
import type {
  Coming,
  LaunchSpec,
  LaunchTimings,
  Machine,
  MachineExit,
  MachineRecord,
  Runtime,
  RestoreOptions,
  RuntimeCapabilities,
  SnapshotFacts,
  SnapshotSource,
  SnapshotTarget,
  SpareMachine,
  SpareSpec,
} from '../runtime.ts';
import { FakeGuest } from './fake-guest.ts';

export interface LaunchStep {
  /** `late`: does not notice that the caller gave up. `hang`: only giving up ends it. `deaf`: never answers at all. */
  readonly kind: 'ok' | 'fail' | 'full' | 'late' | 'hang' | 'deaf';
  readonly delayMs?: number;
  /** How long the machine takes to be gone; `stuck`: its destruction fails. */
  readonly destroy?: number | 'stuck';
}
/** What launch number `n` (from 0) does. */
export type LaunchPlan = (n: number) => LaunchStep;

export interface FakeRuntimeOptions {
  readonly clock?: Clock;
  readonly plan?: LaunchPlan;
  readonly prepareFails?: boolean;
  /** What it claims to be, for tests of what is decided by that. */
  readonly claims?: { readonly runtime?: RuntimeName; readonly tier: Tier; readonly possibleTier?: Tier };
}

export class FakeRuntime implements Runtime {
  readonly capabilities: RuntimeCapabilities;
  /** Machines that exist, for tests that look for what was left. */
  readonly machines: Map<MachineId, FakeMachine> = new Map();
  /** What was captured: in this process, whatever file it was captured into. */
  readonly #captured = new Map<SnapshotId, { readonly guest: FakeGuest; readonly epoch: number }>();
  readonly #clock: Clock;
  readonly #plan: LaunchPlan;
  readonly #prepareFails: boolean;
  #launches = 0;

  constructor(options: FakeRuntimeOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#plan = options.plan ?? ((): LaunchStep => ({ kind: 'ok' }));
    this.#prepareFails = options.prepareFails ?? false;
    const { runtime = 'fake', tier = 'none', possibleTier = tier } = options.claims ?? {};
    this.capabilities = {
      runtime,
      tier,
      possibleTier,
      accelerator: 'none',
      runsCode: false,
      scratch: 'none',
      memoryOverrun: 'process',
      memorySuspend: true,
      fork: true,
      spares: 'per-tenant',
      network: 'none',
    };
  }

  async prepare(): Promise<void> {
    if (this.#prepareFails) throw new BulkheadError('template_failed', 'The fake template was told to fail.');
  }

  async restore(spec: LaunchSpec, source: Coming<SnapshotSource>, options: RestoreOptions): Promise<Machine> {
    const { snapshot, epoch } = await source;
    const captured = this.#captured.get(snapshot);
    if (captured === undefined || captured.epoch !== epoch) {
      throw new BulkheadError('snapshot_invalid', 'The fake runtime has captured no such machine.');
    }
    const machine = await this.launch(spec, options);
    machine.guest.copy(captured.guest);
    machine.epoch = captured.epoch + 1;
    return machine;
  }

  async launch(spec: LaunchSpec, options: { readonly signal?: AbortSignal } = {}): Promise<FakeMachine> {
    const step = this.#plan(this.#launches);
    this.#launches += 1;
    const startedMs = this.#clock.nowMs();
    await this.#pause(step, options.signal);
    if (step.kind === 'fail') throw new BulkheadError('launch_failed', 'The fake launch was told to fail.');
    if (step.kind === 'full') throw new BulkheadError('capacity_exhausted', 'The fake host was told to be full.');
    const confirmedMs = this.#clock.nowMs() - startedMs;
    const machine: FakeMachine = new FakeMachine({
      spec,
      tier: this.capabilities.tier,
      clock: this.#clock,
      destroy: step.destroy ?? 0,
      timings: { spawnedMs: 0, restoredMs: confirmedMs, confirmedMs },
      onGone: () => this.machines.delete(machine.id),
      onCapture: (snapshot) => {
        const guest = new FakeGuest(this.#clock, machine.bootId);
        guest.copy(machine.guest);
        this.#captured.set(snapshot, { guest, epoch: machine.epoch });
      },
    });
    this.machines.set(machine.id, machine);
    return machine;
  }

  async launchSpare(
    { tenant, size }: SpareSpec,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<SpareMachine> {
    if (tenant === null) throw new BulkheadError('unsupported', "A fake machine is one tenant's.");
    return new FakeSpare(await this.launch({ tenant, size, session: makeId('session') }, options));
  }

  async list(): Promise<readonly MachineRecord[]> {
    return [...this.machines.values()].map(({ id, spec }) => ({ id, tenant: spec.tenant, session: spec.session }));
  }

  async sweep(): Promise<readonly string[]> {
    return [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.machines.values()].map((machine) => machine.destroy('destroyed', 'the runtime was closed')),
    );
  }

  #pause(step: LaunchStep, signal: AbortSignal | undefined): Promise<void> {
    const done = Promise.withResolvers<void>();
    const cancelled = new BulkheadError('cancelled', 'The launch was cancelled.');
    const timed = step.kind !== 'hang' && step.kind !== 'deaf';
    const cancelTimer = timed ? this.#clock.after(step.delayMs ?? 0, () => done.resolve()) : (): void => undefined;
    if (step.kind !== 'late' && step.kind !== 'deaf') {
      if (signal?.aborted === true) done.reject(cancelled);
      signal?.addEventListener('abort', () => done.reject(cancelled), { once: true });
    }
    return done.promise.finally(cancelTimer);
  }
}

interface FakeMachineOptions {
  readonly spec: LaunchSpec;
  readonly tier: Tier;
  readonly clock: Clock;
  readonly destroy: number | 'stuck';
  readonly timings: LaunchTimings;
  readonly onGone: () => void;
  readonly onCapture: (snapshot: SnapshotId) => void;
}

export class FakeMachine implements Machine {
  readonly id: MachineId = makeId('machine');
  readonly tier: Tier;
  readonly bootId: string = crypto.randomUUID();
  readonly hostPids: readonly number[] = [];
  epoch = 1;
  spec: LaunchSpec;
  readonly timings: LaunchTimings;
  readonly guest: FakeGuest;
  readonly exited: Promise<MachineExit>;
  readonly #exited = Promise.withResolvers<MachineExit>();
  readonly #options: FakeMachineOptions;
  #destruction: Promise<void> | undefined;

  constructor(options: FakeMachineOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.tier = options.tier;
    this.timings = options.timings;
    this.guest = new FakeGuest(options.clock, this.bootId);
    this.exited = this.#exited.promise;
  }

  async residentBytes(): Promise<number> {
    return 0;
  }

  async capture(target: Coming<SnapshotTarget>): Promise<SnapshotFacts> {
    const { snapshot } = await target;
    await this.guest.freeze();
    this.#options.onCapture(snapshot);
    const nothing = { bytes: 0, memoryBytes: 0, scratchBytes: 0, pausedMs: 0 };
    return { ...nothing, epoch: this.epoch, templateDigest: 'fake' };
  }

  async resume(): Promise<void> {
    this.guest.check();
    this.epoch += 1;
  }

  /** The machine dies of itself, between turns or in one. */
  crash(): void {
    this.guest.end('ended', 'the fake machine was told to crash');
    void this.destroy('crashed', 'the fake machine was told to crash');
  }

  destroy(reason: MachineExit['reason'], detail: string): Promise<void> {
    this.#destruction ??= this.#destroy(reason, detail);
    return this.#destruction;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy('destroyed', 'disposed');
  }

  async #destroy(reason: MachineExit['reason'], detail: string): Promise<void> {
    const { destroy, clock, onGone } = this.#options;
    this.guest.end('closed', detail);
    if (destroy === 'stuck') throw new BulkheadError('internal', 'The fake machine was told not to go.');
    if (destroy > 0) await new Promise<void>((resolve) => void clock.after(destroy, resolve));
    onGone();
    this.#exited.resolve({ reason, detail });
  }
}

class FakeSpare implements SpareMachine {
  readonly id: MachineId;
  readonly exited: Promise<MachineExit>;
  readonly #machine: FakeMachine;
  #claimed = false;

  constructor(machine: FakeMachine) {
    this.#machine = machine;
    this.id = machine.id;
    this.exited = machine.exited;
  }

  async claim(spec: LaunchSpec): Promise<Machine> {
    if (this.#claimed || spec.tenant !== this.#machine.spec.tenant) {
      throw new BulkheadError('state_conflict', "This fake machine has been claimed, or is another tenant's.");
    }
    this.#claimed = true;
    await this.#machine.resume().catch(() => {
      throw new BulkheadError('machine_lost', 'The fake machine ended before a session had it.');
    });
    this.#machine.spec = spec;
    return this.#machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#claimed) await this.#machine[Symbol.asyncDispose]();
  }
}

/** A plan whose launches succeed, fail, hang and come late, decided by the seed alone. */
export function seededPlan(seed: number): LaunchPlan {
  return (n) => {
    const random = mulberry32(seed * 7919 + n);
    const kinds = ['ok', 'ok', 'ok', 'fail', 'full', 'late', 'hang'] as const;
    return { kind: kinds[Math.floor(random() * kinds.length)] ?? 'ok', delayMs: Math.floor(random() * 100) };
  };
}

/** A small generator of uniform numbers in [0, 1): reproducible, not for secrets. */
export function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
