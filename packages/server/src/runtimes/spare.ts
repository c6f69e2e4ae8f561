// A machine that waits for the session that will have it. It has confirmed an identity, its processors run, and no code but our agent's
// has run in it: what could reach its guest is behind this.

import { BulkheadError, type Language, type MachineId } from '@bulkhead/protocol';
import type { Guest } from '../guest/guest.ts';
import type { LaunchSpec, Machine, MachineExit, SpareMachine, SpareSpec } from './runtime.ts';

/** A machine that may be nobody's for a while. */
export interface ClaimableMachine extends Machine {
  /** Another identity of its own. */
  renew(): Promise<void>;
  /** Makes it a session's. */
  becomeOf(spec: LaunchSpec, signal?: AbortSignal): Promise<void>;
}

/** Of ours, no tenant's: what a session's first turns go through. An emulator translates code when it first runs, and again after it was restored. */
const rehearsals: readonly (readonly [Language, string])[] = [
  ['python', 'print(6 * 7)\n6 * 7'],
  ['bash', 'echo 42'],
];
/** So often, with the identity that comes before a turn: after the second there is little left to gain. */
const rehearsalCount = 2;
const outputMaxBytes = 65_536;

/** Makes a machine that waits quick: it has the time. Nothing of it is left in the contexts. One that fails, or is given up, is destroyed. */
export async function rehearse(machine: ClaimableMachine, signal: AbortSignal): Promise<void> {
  const { guest } = machine;
  const giveUp = (): void => void machine.destroy('unresponsive', 'its rehearsal was given up').catch(() => undefined);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    for (let n = 0; n < rehearsalCount; n++) {
      await machine.renew();
      for (const [language, code] of rehearsals) await rehearseTurn(guest, language, code);
    }
    await guest.rehearse();
    signal.throwIfAborted();
  } catch (error) {
    await machine.destroy('crashed', 'its rehearsal failed');
    throw error;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

async function rehearseTurn(guest: Guest, language: Language, code: string): Promise<void> {
  const bounds = { maxOutputBytes: outputMaxBytes, maxEventBytes: outputMaxBytes };
  const turn = guest.run({ language, context: 'default', code: Buffer.from(code), ...bounds });
  for await (const _event of turn.events);
  await turn.outcome;
}

export class ConfirmedSpare implements SpareMachine {
  readonly #machine: ClaimableMachine;
  readonly #for: SpareSpec;
  #claimed = false;

  /** `machine` has confirmed: no launch returns another. */
  constructor(machine: ClaimableMachine, spec: SpareSpec) {
    this.#machine = machine;
    this.#for = spec;
  }

  get id(): MachineId {
    return this.#machine.id;
  }

  get exited(): Promise<MachineExit> {
    return this.#machine.exited;
  }

  async claim(spec: LaunchSpec, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ClaimableMachine> {
    const { tenant, size } = this.#for;
    if (spec.size !== size || (tenant !== null && spec.tenant !== tenant)) {
      throw new BulkheadError('state_conflict', 'This machine was launched for another tenant or size.');
    }
    if (this.#claimed) throw new BulkheadError('state_conflict', 'This machine has been claimed.');
    this.#claimed = true;
    try {
      await this.#machine.becomeOf(spec, signal);
      return this.#machine;
    } catch (cause) {
      await this.#machine.destroy('destroyed', "it could not be made a session's");
      throw signal?.aborted === true
        ? new BulkheadError('cancelled', 'The claim was cancelled.', { cause })
        : new BulkheadError('machine_lost', 'The machine ended before a session had it.', { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#claimed) await this.#machine.destroy('destroyed', 'nobody needed it');
  }
}
