import type { TenantId, TurnEvent, TurnRequest, TurnResult } from '@bulkhead/protocol';
import { makeId } from '@bulkhead/protocol';
import { type FakeMachine, FakeRuntime, type FakeRuntimeOptions } from '../../src/runtimes/fake/fake-runtime.ts';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import type { SessionJournal, SnapshotKeeper } from '../../src/sessions/session-journal.ts';
import type { SessionRecord } from '../../src/sessions/session-record.ts';
import { type SessionHandle, Sessions } from '../../src/sessions/sessions.ts';

export interface Harness {
  readonly clock: SteppedClock;
  readonly runtime: FakeRuntime;
  readonly sessions: Sessions;
  readonly tenant: TenantId;
  readonly transitions: string[];
}

export interface HarnessOptions extends Omit<FakeRuntimeOptions, 'clock'> {
  readonly keeper?: SnapshotKeeper;
  readonly journal?: SessionJournal;
  readonly launchWaitMaxMs?: number;
}

export function openHarness({ keeper, journal, launchWaitMaxMs, ...options }: HarnessOptions = {}): Harness {
  const clock = new SteppedClock();
  const runtime = new FakeRuntime({ ...options, clock });
  const transitions: string[] = [];
  const sessions = new Sessions({
    runtimes: [runtime],
    clock,
    ...(keeper === undefined ? {} : { keeper }),
    ...(journal === undefined ? {} : { journal }),
    ...(launchWaitMaxMs === undefined ? {} : { launchWaitMaxMs }),
    onTransition: (_before: SessionRecord | undefined, after: SessionRecord) => transitions.push(after.state),
  });
  return { clock, runtime, sessions, tenant: makeId('tenant'), transitions };
}

export async function createSession(harness: Harness): Promise<SessionHandle> {
  const creating = harness.sessions.createSession({ tenant: harness.tenant });
  creating.catch(() => undefined);
  await harness.clock.advance(0);
  return await creating;
}

/** Runs a turn that needs no time, or as much as is given. */
export async function runTurn(
  harness: Harness,
  session: SessionHandle,
  request: TurnRequest | string,
  advanceMs = 0,
): Promise<TurnResult> {
  const turn = session.startTurn(typeof request === 'string' ? { code: request } : request);
  await harness.clock.advance(advanceMs);
  return await turn.result;
}

export function onlyMachine(harness: Harness): FakeMachine {
  const [machine, ...rest] = harness.runtime.machines.values();
  if (machine === undefined || rest.length > 0)
    throw new Error(`expected one machine, got ${harness.runtime.machines.size}`);
  return machine;
}

export async function collect(events: AsyncIterable<TurnEvent>): Promise<TurnEvent[]> {
  const all: TurnEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}
