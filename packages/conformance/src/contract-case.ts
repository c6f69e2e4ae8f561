// What a case of the runtime contract is, and what cases share. A case throws when the contract does not hold. It leaves nothing behind, and
// whether it did is looked at after each.

import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Language, type SizeName, type TenantId, makeId } from '@bulkhead/protocol';
import type {
  LaunchSpec,
  Machine,
  Runtime,
  RuntimeCapabilities,
  SnapshotFacts,
  SnapshotSource,
} from '@bulkhead/server';

export const size: SizeName = 'small';

/** A runtime to be tried. */
export interface Subject {
  readonly name: string;
  /** Errors: `host_unsupported` where this host cannot run it: then none of its cases is run, and that is said. */
  open(): Promise<Runtime>;
  /** The same on a host that has no room for a machine. */
  openFull(): Promise<Runtime>;
  /**
   * A program that opens the runtime, launches a machine, says so on standard output (a line: the machine's id, the ids of its processes, with
   * spaces between), and waits to be killed.
   */
  readonly victim?: { readonly file: string; readonly environment: NodeJS.ProcessEnv };
}

export interface CaseContext {
  readonly subject: Subject;
  readonly runtime: Runtime;
  readonly tenant: TenantId;
  /** A line for whoever reads the result: a measured time, say. */
  readonly note: (line: string) => void;
}

export interface ContractCase {
  readonly name: string;
  /** Why a runtime of these capabilities is not held to it; undefined when it is. */
  needs?(capabilities: RuntimeCapabilities, subject: Subject): string | undefined;
  run(context: CaseContext): Promise<void>;
}

export const needsCode = ({ runsCode }: RuntimeCapabilities): string | undefined =>
  runsCode ? undefined : 'it runs no code (runsCode)';
export const needsSuspend = ({ memorySuspend }: RuntimeCapabilities): string | undefined =>
  memorySuspend ? undefined : 'it keeps no memory (memorySuspend)';
export const needsFork = ({ fork }: RuntimeCapabilities): string | undefined =>
  fork ? undefined : 'it does not fork (fork)';
export const needsSpares = ({ spares }: RuntimeCapabilities): string | undefined =>
  spares === 'none' ? 'it launches nothing ahead (spares)' : undefined;

/** The first reason of several. */
export function all(
  ...needs: readonly ((capabilities: RuntimeCapabilities) => string | undefined)[]
): (capabilities: RuntimeCapabilities) => string | undefined {
  return (capabilities) => needs.map((need) => need(capabilities)).find((reason) => reason !== undefined);
}

export function specOf(tenant: TenantId): LaunchSpec {
  return { tenant, session: makeId('session'), size };
}

export async function launch({ runtime, tenant }: CaseContext): Promise<Machine> {
  return await runtime.launch(specOf(tenant));
}

/** What a turn printed; a turn that fails is an error. */
export async function run(machine: Machine, code: string, language: Language = 'python'): Promise<string> {
  const bounds = { maxOutputBytes: 1_048_576, maxEventBytes: 1_048_576 };
  const turn = machine.guest.run({ language, context: 'default', code: Buffer.from(code), ...bounds });
  let printed = '';
  for await (const event of turn.events) {
    if (event.type === 'stdout' || event.type === 'stderr') printed += Buffer.from(event.bytes).toString('utf8');
    if (event.type === 'exception') printed += event.exception.traceback;
  }
  const { status } = await turn.outcome;
  if (status !== 'ok') throw new Error(`a turn ended with ${status}: ${printed}`);
  return printed.trim();
}

/** A file that is there for as long as its descriptor, and a key. */
export interface Keeping extends Disposable {
  readonly fd: number;
  readonly key: Uint8Array;
}

export function openKeeping(): Keeping {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-contract-'));
  const fd = openSync(join(directory, 'snapshot'), 'wx+', 0o600);
  rmSync(directory, { recursive: true });
  return { fd, key: randomBytes(32), [Symbol.dispose]: () => closeSync(fd) };
}

/** Captures a machine, which stands still then; the snapshot, ready to be restored from. */
export async function capture(
  machine: Machine,
  { fd, key }: Keeping,
): Promise<{ readonly source: SnapshotSource; readonly facts: SnapshotFacts }> {
  const snapshot = makeId('snapshot');
  const target = { fd, key: Uint8Array.from(key), snapshot, kind: 'checkpoint', createdAtUnixMs: Date.now() } as const;
  const facts = await machine.capture(target);
  const { tenant, session } = machine.spec;
  return {
    source: { fd, key: Uint8Array.from(key), snapshot, tenant, session, epoch: facts.epoch },
    facts,
  };
}

/** A key is erased by whoever used it. */
export function again(source: SnapshotSource, { key }: Keeping): SnapshotSource {
  return { ...source, key: Uint8Array.from(key) };
}

/** Whether a process of the host runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
