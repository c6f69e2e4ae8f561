// The name of a machine's process says whose it is, so that what the database forgot can be found in the process table. QEMU shows it in its
// command line as `-name bulkhead:<machine>:<session>:<tenant>:<owner pid>-<owner start time>`, runsc as the container's id and in the path of
// its bundle, with dots; `-` for a tenant or a session that there was none of at the launch.

import { readFileSync, readdirSync } from 'node:fs';
import { parseId } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';
import { isOwnerAlive, ownerMark } from '../lib/owner.ts';
import type { MachineRecord } from './runtime.ts';

const nobody = '-';

/** How a name is written: a VMM's, or a container's. */
const separators = { vmm: ':', container: '.' } as const;
export type NameForm = keyof typeof separators;

export interface FoundMachine extends MachineRecord {
  readonly form: NameForm;
  readonly pid: number;
  /** The first word of its command line. */
  readonly program: string;
  /** Whether the process that launched it still runs. */
  readonly owned: boolean;
}

/** SIGKILL; whether the process was there to get it. */
export function killProcess(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** The name of a machine of this process. */
export function machineName({ id, session, tenant }: MachineRecord, form: NameForm): string {
  return ['bulkhead', id, session ?? nobody, tenant ?? nobody, ownerMark].join(separators[form]);
}

/** Whose a name is; undefined for one that is not a machine's. */
export function parseMachineName(name: string): Omit<FoundMachine, 'pid' | 'program'> | undefined {
  const form = name.startsWith('bulkhead:') ? 'vmm' : 'container';
  const [prefix, machine = '', session = '', tenant = '', owner = ''] = name.split(separators[form]);
  const id = parseId('machine', machine);
  const sessionId = session === nobody ? null : parseId('session', session);
  const tenantId = tenant === nobody ? null : parseId('tenant', tenant);
  if (prefix !== 'bulkhead' || id === undefined || sessionId === undefined || tenantId === undefined) return undefined;
  return { form, id, session: sessionId, tenant: tenantId, owned: isOwnerAlive(owner) };
}

/** QEMU's name is a word of its own, a container's may be the end of a path. */
const nameInWord = /(?:^|[/=])(bulkhead[:.]mch_[^/]*)$/;

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return ''; // it ended meanwhile
  }
}

/** Every process on this host that belongs to a machine, several for each. Reads /proc at once: it is memory. */
export function findMachines(): FoundMachine[] {
  const found: FoundMachine[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const words = commandLine(entry).split('\0');
    const names = words.flatMap((word) => nameInWord.exec(word)?.[1] ?? []);
    const parsed = names.map(parseMachineName).find((name) => name !== undefined);
    if (parsed !== undefined) found.push({ ...parsed, pid: Number(entry), program: words[0] ?? '' });
  }
  return found;
}
