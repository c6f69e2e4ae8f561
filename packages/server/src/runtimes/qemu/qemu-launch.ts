// One launch: a machine from a template or from a snapshot, made unique before anybody has it. What fails or is cancelled on the way leaves
// nothing behind.

import { write } from 'node:fs';
import { promisify } from 'node:util';
import { aborted } from '../launch-in-time.ts';
import { makeUnique } from '../make-unique.ts';
import type { Coming, LaunchSpec, RestoreOptions, SnapshotSource } from '../runtime.ts';
import { descriptors } from './qemu-command.ts';
import { QemuMachine } from './qemu-machine.ts';
import type { Qmp } from './qmp.ts';
import type { OpenJob } from './snapshot-content.ts';
import type { OpeningSnapshot, SnapshotWorker } from './snapshot-worker.ts';
import { type StartedVmm, type VmmHost, machineParts } from './started-vmm.ts';
import type { Template } from './template.ts';

/** What of the host a launch needs. */
export interface LaunchHost extends VmmHost {
  readonly qemuVersion: string;
  readonly snapshots: SnapshotWorker;
}

export interface LaunchOrder {
  /** Whose the machine will be; nobody's, until it is claimed, when there is none. */
  readonly spec: LaunchSpec | undefined;
  /** What the machine starts with; a template's memory alone when there is none. */
  readonly snapshot?: { readonly source: Coming<SnapshotSource>; readonly renew: RestoreOptions['renew'] };
  /** When it was asked for, on the clock of `performance`. */
  readonly started: number;
  readonly signal: AbortSignal;
}

/** `started` becomes the machine's. */
export async function launchMachine(host: LaunchHost, started: StartedVmm, order: LaunchOrder): Promise<QemuMachine> {
  await using undo = new AsyncDisposableStack();
  undo.use(started);
  const { spec, snapshot, signal } = order;
  const { id, template, vmm, guest } = started;
  const elapsed = (): number => performance.now() - order.started;
  const spawnedMs = elapsed();

  // It is read, and may still be written, while QEMU starts.
  const opening = snapshot === undefined ? undefined : undo.use(openSnapshot(host, template, snapshot.source));
  const fill = (): Promise<void> =>
    opening === undefined ? fillFromTemplate(started) : fillFromSnapshot(started, opening);
  const resumed = loadAndRun(vmm.qmp, Promise.all([started.ready, started.files.memory.sealed]), fill);
  const restored = resumed.then(elapsed);
  // Not before the processors run: the identity carries the time.
  const confirmed = resumed.then(async () =>
    makeUnique(guest, spec?.session ?? id, {
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
  const timings = { spawnedMs, restoredMs, confirmedMs: elapsed() };
  const hostPids = await vmm.pids();
  undo.move();
  return new QemuMachine({
    started,
    spec,
    bootId,
    epoch,
    timings,
    hostPids,
    qemuVersion: host.qemuVersion,
    snapshots: host.snapshots,
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

const writeAt = promisify(write);

/** The memory is the template's already. What there is of the disk is a megabyte: not on the event loop. */
async function fillFromTemplate({ template: { deviceState, scratch }, files }: StartedVmm): Promise<void> {
  await writeAt(files.state, deviceState, 0, deviceState.length, 0);
  for (const { offset, bytes } of scratch) await writeAt(files.scratch, bytes, 0, bytes.length, offset);
}

async function fillFromSnapshot(started: StartedVmm, opening: OpeningSnapshot): Promise<void> {
  const [pid] = await started.vmm.pids();
  if (pid === undefined) throw new Error('QEMU did not start');
  await opening.restore(machineParts(started, pid));
}

/**
 * Waits until QEMU listens and nobody can write to the template any more, puts in what the machine has of its own, loads the device state, then runs.
 * Until then QEMU has run no code but its own. `cont` waits for the load: QEMU forgets one that comes in the middle, because the template
 * was frozen in a stopped machine.
 */
export async function loadAndRun(qmp: Qmp, ready: Promise<unknown>, fill: () => Promise<void>): Promise<void> {
  await ready;
  await fill();
  const loaded = qmp.event('MIGRATION', ({ status }) => status === 'completed' || status === 'failed');
  loaded.catch(() => undefined);
  const [{ status }] = await Promise.all([
    loaded,
    qmp.execute('migrate-incoming', { uri: `fd:${descriptors.deviceState}` }),
  ]);
  if (status !== 'completed') throw new Error('QEMU could not load the device state');
  await qmp.execute('cont');
}
