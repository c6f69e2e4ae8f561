// A VMM's name says whose it is, so that what the database forgot can be found in the process table. QEMU shows it in its
// command line: `-name bulkhead:<machine>:<session>:<tenant>:<owner pid>:<owner start time>`, with `-` for a tenant or a session that there
// was none of at the launch.

import { readFileSync, readdirSync } from 'node:fs';
import { parseId } from '@bulkhead/protocol';
import { errnoOf } from '../../lib/errno.ts';
import { isOwnerAlive, ownerMark } from '../../lib/owner.ts';
import type { MachineRecord } from '../runtime.ts';

const nobody = '-';

export interface FoundMachine extends MachineRecord {
  readonly pid: number;
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
export function machineName({ id, session, tenant }: MachineRecord): string {
  return ['bulkhead', id, session ?? nobody, tenant ?? nobody, ownerMark].join(':');
}

function parseName(name: string): Omit<FoundMachine, 'pid'> | undefined {
  const [prefix, machine = '', session = '', tenant = '', owner = ''] = name.split(':');
  const id = parseId('machine', machine);
  const sessionId = session === nobody ? null : parseId('session', session);
  const tenantId = tenant === nobody ? null : parseId('tenant', tenant);
  if (prefix !== 'bulkhead' || id === undefined || sessionId === undefined || tenantId === undefined) return undefined;
  return { id, session: sessionId, tenant: tenantId, owned: isOwnerAlive(owner) };
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return ''; // it ended meanwhile
  }
}

/** Every process on this host that belongs to a machine: two for each, the jail's and QEMU's. Reads /proc at once: it is memory. */
export function findMachines(): FoundMachine[] {
  const found: FoundMachine[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const words = commandLine(entry).split('\0');
    const name = words[words.indexOf('-name') + 1] ?? '';
    const parsed = name.startsWith('bulkhead:') ? parseName(name) : undefined;
    if (parsed !== undefined) found.push({ ...parsed, pid: Number(entry) });
  }
  return found;
}
