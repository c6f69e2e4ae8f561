// A VMM in its jail and its control group that has mapped a template's memory and waits: nothing has been loaded into it, and no instruction of a guest
// has run. What of the host a machine has it has from here, and gives back when this is disposed of.

import { closeSync, openSync, unlinkSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type MachineId, makeId } from '@bulkhead/protocol';
import { openGuest } from '../../guest/channel.ts';
import type { Guest } from '../../guest/guest.ts';
import { createMemory } from '../../lib/host-calls.ts';
import { ownerMark } from '../../lib/owner.ts';
import { type CgroupRoot, makeGroup, removeGroup } from '../cgroups.ts';
import { machineName } from '../machine-name.ts';
import type { MachineRecord } from '../runtime.ts';
import type { JailOptions } from './jail.ts';
import { restoreArguments, translationCacheMib } from './qemu-command.ts';
import type { Qmp } from './qmp.ts';
import type { MachineParts } from './snapshot-content.ts';
import type { MemoryLease } from './template-memory.ts';
import type { Template } from './template.ts';
import { Vmm } from './vmm.ts';

const mib = 1024 * 1024;
const vmmOverheadMib = 128;

/** What of the host a VMM needs. */
export interface VmmHost {
  readonly cacheDir: string;
  readonly cgroups: CgroupRoot | undefined;
  jail(cgroupFiles: readonly string[], fileSizeMaxBytes: number): JailOptions;
}

export interface VmmOrder {
  /** Whose it will be, as far as that is known. */
  readonly whose: Omit<MachineRecord, 'id'>;
  readonly template: Template;
  /** Becomes the VMM's. */
  readonly memory: MemoryLease;
}

export interface MachineFiles {
  readonly memory: MemoryLease;
  readonly scratch: number;
  /** What the device state is loaded from, and what QEMU writes its own into when the machine is captured. */
  readonly state: number;
  /** The same file as QEMU writes it: they share the position. */
  readonly savedState: number;
}

export interface StartedVmm extends AsyncDisposable {
  readonly id: MachineId;
  readonly template: Template;
  readonly vmm: Vmm;
  /** The host's end of the channel. */
  readonly guest: Guest;
  readonly files: MachineFiles;
  /** QEMU has mapped its memory and listens. */
  readonly ready: Promise<void>;
}

/** Its machine, for a snapshot; `pid` is QEMU's. */
export function machineParts({ template, files }: StartedVmm, pid: number): MachineParts {
  const { memoryMib, scratchMib } = template.hardware.size;
  const { scratch, state } = files;
  return { pid, memoryBytes: memoryMib * mib, scratch, scratchBytes: scratchMib * mib, deviceState: state };
}

/** Errors: what the host refuses; nothing is left then. */
export async function startVmm(host: VmmHost, { whose, template, memory }: VmmOrder): Promise<StartedVmm> {
  await using undo = new AsyncDisposableStack();
  undo.use(memory);
  const id = makeId('machine');
  const cgroupFiles = await joinGroup(host.cgroups, `${ownerMark}.${id}`, template, undo);
  const scratch = undo.adopt(await makeScratch(host.cacheDir, id, template), closeSync);
  const state = undo.adopt(createMemory('bulkhead-device-state'), closeSync);
  const savedState = undo.adopt(openSync(`/proc/self/fd/${state}`, 'w'), closeSync);
  const files = { memory, scratch, state, savedState };
  const jail = host.jail(cgroupFiles, (template.hardware.size.scratchMib + 1) * mib);
  const vmm = spawnVmm(jail, machineName({ ...whose, id }, 'vmm'), template, files);
  undo.defer(() => vmm.kill());
  const guest = undo.use(openGuest(vmm.channel));
  const ready = listen(vmm.qmp);
  ready.catch(() => undefined); // whoever waits for it sees the failure
  const owned = undo.move();
  return { id, template, vmm, guest, files, ready, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function joinGroup(
  cgroups: CgroupRoot | undefined,
  name: string,
  template: Template,
  undo: AsyncDisposableStack,
): Promise<readonly string[]> {
  if (cgroups === undefined) return [];
  undo.defer(() => removeGroup(cgroups, name));
  const { memoryMib, vcpus } = template.hardware.size;
  return makeGroup(cgroups, name, {
    // Twice the guest's: what the template never touched becomes a page of its shared memory before it is copied, and that is charged to whoever comes first.
    memoryMaxBytes: (2 * memoryMib + translationCacheMib + vmmOverheadMib) * mib,
    processesMaxCount: 128,
    cpus: vcpus + 0.25,
  });
}

/** The sparse second disk, empty, without a name: only our descriptor and the VMM's keep it. */
async function makeScratch(cacheDir: string, name: MachineId, { hardware }: Template): Promise<number> {
  const directory = join(cacheDir, 'scratch');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${ownerMark}.${name}`);
  await using file = await open(path, 'wx+', 0o600);
  unlinkSync(path);
  await file.truncate(hardware.size.scratchMib * mib);
  return openSync(`/proc/self/fd/${file.fd}`, 'r+');
}

function spawnVmm(jail: JailOptions, name: string, template: Template, files: MachineFiles): Vmm {
  using opened = new DisposableStack();
  const openFile = (path: string): number => opened.adopt(openSync(path, 'r'), closeSync);
  const { memory, scratch, state, savedState } = files;
  return new Vmm(jail, restoreArguments(template.hardware, name), {
    memory: memory.fd,
    root: openFile(template.rootPath),
    scratch,
    deviceState: openFile(`/proc/self/fd/${state}`),
    savedState,
  });
}

/** With the first answer QEMU has mapped its memory. */
async function listen(qmp: Qmp): Promise<void> {
  const capabilities = [{ capability: 'events', state: true }];
  await Promise.all([qmp.execute('qmp_capabilities'), qmp.execute('migrate-set-capabilities', { capabilities })]);
}
