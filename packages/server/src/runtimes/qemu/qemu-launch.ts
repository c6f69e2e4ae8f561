// One launch: a machine from a template or from a snapshot, in its jail and its control group, made unique before anybody has it. What
// fails or is cancelled on the way leaves nothing behind.

import { closeSync, openSync, unlinkSync } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type MachineId, makeId } from '@bulkhead/protocol';
import { openGuest } from '../../guest/channel.ts';
import { aborted } from '../launch-in-time.ts';
import type { Coming, LaunchSpec, RestoreOptions, SnapshotSource, SpareSpec } from '../runtime.ts';
import { type CgroupRoot, makeGroup, removeGroup } from '../cgroups.ts';
import { createMemory } from '../../lib/host-calls.ts';
import { ownerMark } from '../../lib/owner.ts';
import type { JailOptions } from './jail.ts';
import { machineName } from '../machine-name.ts';
import { makeUnique } from '../make-unique.ts';
import { descriptors, restoreArguments, translationCacheMib } from './qemu-command.ts';
import { QemuMachine } from './qemu-machine.ts';
import type { Qmp } from './qmp.ts';
import type { OpenJob } from './snapshot-content.ts';
import type { OpeningSnapshot, SnapshotWorker } from './snapshot-worker.ts';
import type { MemoryLease } from './template-memory.ts';
import type { Template } from './template.ts';
import { Vmm } from './vmm.ts';

const mib = 1024 * 1024;
const vmmOverheadMib = 128;

/** What of the host a launch needs. */
export interface LaunchHost {
  readonly cacheDir: string;
  readonly cgroups: CgroupRoot | undefined;
  readonly qemuVersion: string;
  readonly snapshots: SnapshotWorker;
  jail(cgroupFiles: readonly string[], fileSizeMaxBytes: number): JailOptions;
}

export interface LaunchOrder {
  /** Whose the machine will be; without a session nobody's, until it is claimed. */
  readonly spec: LaunchSpec | SpareSpec;
  readonly template: Template;
  /** Becomes the machine's, when there is one. */
  readonly memory: MemoryLease;
  /** What the machine starts with; a template's memory alone when there is none. */
  readonly snapshot?: { readonly source: Coming<SnapshotSource>; readonly renew: RestoreOptions['renew'] };
  /** When it was asked for, on the clock of `performance`. */
  readonly started: number;
  readonly signal: AbortSignal;
}

export async function launchMachine(host: LaunchHost, order: LaunchOrder): Promise<QemuMachine> {
  const { spec, template, memory, snapshot, started, signal } = order;
  const id = makeId('machine');
  const session = 'session' in spec ? spec : undefined;
  const { size, accelerator } = template.hardware;
  await using undo = new AsyncDisposableStack();

  // It is read, and may still be written, while QEMU starts.
  const opening = snapshot === undefined ? undefined : undo.use(openSnapshot(host, template, snapshot.source));
  const group = `${ownerMark}.${id}`;
  const cgroupFiles = await joinGroup(host.cgroups, group, template, undo);
  const scratch = undo.adopt(await makeScratch(host.cacheDir, id, template, snapshot === undefined), closeSync);
  const state = undo.adopt(createMemory('bulkhead-device-state'), closeSync);
  const savedState = undo.adopt(openSync(`/proc/self/fd/${state}`, 'w'), closeSync);
  const vmm = spawnVmm(host, order, { id, cgroupFiles, scratch, state, savedState });
  undo.defer(() => vmm.kill());
  const spawnedMs = performance.now() - started;
  const guest = undo.use(openGuest(vmm.channel));

  const fill = async (): Promise<void> => {
    if (opening === undefined) return;
    const [pid] = await vmm.pids();
    if (pid === undefined) throw new Error('QEMU did not start');
    const memoryBytes = size.memoryMib * mib;
    await opening.restore({ pid, memoryBytes, scratch, scratchBytes: size.scratchMib * mib, deviceState: state });
  };
  const resumed = loadAndRun(vmm.qmp, memory.sealed, fill);
  const restored = resumed.then(() => performance.now() - started);
  // Not before the processors run: the identity carries the time.
  const confirmed = resumed.then(async () =>
    makeUnique(guest, session?.session ?? id, {
      after: (await snapshot?.source)?.epoch ?? 0,
      renew: snapshot?.renew ?? true,
      signal,
    }),
  );
  const died = vmm.exited.then((words): never => {
    throw new Error(`QEMU ended before the machine was confirmed (${words})`);
  });
  const [{ bootId, epoch }, restoredMs] = await Promise.race([
    Promise.all([confirmed, restored]),
    died,
    aborted(signal),
  ]);
  died.catch(() => undefined);
  const timings = { spawnedMs, restoredMs, confirmedMs: performance.now() - started };
  const hostPids = await vmm.pids();
  undo.move();
  return new QemuMachine({
    id,
    spec: session,
    tier: accelerator === 'kvm' ? 'vm-kvm' : 'vm-emulated',
    bootId,
    epoch,
    timings,
    guest,
    vmm,
    hostPids,
    files: { memory, scratch, state, savedState },
    template,
    qemuVersion: host.qemuVersion,
    snapshots: host.snapshots,
    release: async () => {
      closeSync(scratch);
      closeSync(state);
      closeSync(savedState);
      memory[Symbol.dispose]();
      if (host.cgroups !== undefined) await removeGroup(host.cgroups, group);
    },
  });
}

function openSnapshot(host: LaunchHost, { digest }: Template, source: Coming<SnapshotSource>): OpeningSnapshot {
  const job = async (): Promise<OpenJob> => {
    const { fd, key, snapshot, tenant, session, epoch } = await source;
    const expected = { snapshot, tenant, session, epoch, templateDigest: digest, vmm: host.qemuVersion };
    return { type: 'open', source: fd, key, expected };
  };
  return host.snapshots.open(job());
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

/** The sparse second disk, as the template has it or empty, without a name: only our descriptor and the VMM's keep it. */
async function makeScratch(cacheDir: string, name: MachineId, template: Template, filled: boolean): Promise<number> {
  const directory = join(cacheDir, 'scratch');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${ownerMark}.${name}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    unlinkSync(path);
    await file.truncate(template.hardware.size.scratchMib * mib);
    for (const { offset, bytes } of filled ? template.scratch : []) await file.write(bytes, 0, bytes.length, offset);
    return openSync(`/proc/self/fd/${file.fd}`, 'r+');
  } finally {
    await file.close();
  }
}

interface MachineFiles {
  readonly id: MachineId;
  readonly cgroupFiles: readonly string[];
  readonly scratch: number;
  /** What a snapshot's device state is read from, and what QEMU writes its own into when it is captured. */
  readonly state: number;
  /** The same file as QEMU writes it: they share the position. */
  readonly savedState: number;
}

function spawnVmm(host: LaunchHost, order: LaunchOrder, files: MachineFiles): Vmm {
  const { spec, template, memory, snapshot } = order;
  const { id, cgroupFiles, scratch, state, savedState } = files;
  using opened = new DisposableStack();
  const openFile = (path: string, flags: string): number => opened.adopt(openSync(path, flags), closeSync);
  const ownState = `/proc/self/fd/${state}`;
  const root = openFile(template.rootPath, 'r');
  const deviceState = openFile(snapshot === undefined ? template.deviceStatePath : ownState, 'r');
  const jail = host.jail(cgroupFiles, (template.hardware.size.scratchMib + 1) * mib);
  const name = machineName({ session: null, ...spec, id }, 'vmm');
  const commandLine = restoreArguments(template.hardware, name, snapshot === undefined ? 'template' : 'snapshot');
  return new Vmm(jail, commandLine, { memory: memory.fd, root, scratch, deviceState, savedState });
}

/**
 * Waits until nobody can write to the template any more, puts in what the machine has of its own, loads the device state, then runs. Until then QEMU has
 * run no code but its own. `cont` waits for the load: QEMU forgets one that comes in the middle, because the template was frozen in a
 * stopped machine.
 */
export async function loadAndRun(qmp: Qmp, sealed: Promise<void>, fill: () => Promise<void>): Promise<void> {
  const loaded = qmp.event('MIGRATION', ({ status }) => status === 'completed' || status === 'failed');
  loaded.catch(() => undefined);
  const capabilities = ['x-ignore-shared', 'events'].map((capability) => ({ capability, state: true }));
  // With the first answer QEMU has mapped its memory.
  await Promise.all([
    Promise.all([qmp.execute('qmp_capabilities'), sealed]).then(fill),
    qmp.execute('migrate-set-capabilities', { capabilities }),
  ]);
  const [{ status }] = await Promise.all([
    loaded,
    qmp.execute('migrate-incoming', { uri: `fd:${descriptors.deviceState}` }),
  ]);
  if (status !== 'completed') throw new Error('QEMU could not load the device state');
  await qmp.execute('cont');
}
