// One launch: a container from a template or from a snapshot, in its control group, made unique before anybody has it. What fails or is
// cancelled on the way leaves nothing behind.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type MachineId, limits, makeId, sizes } from '@bulkhead/protocol';
import { openGuest } from '../../guest/channel.ts';
import { ownerMark } from '../../lib/owner.ts';
import { type CgroupRoot, makeGroup, removeGroup } from '../cgroups.ts';
import type { JobThread } from '../job-thread.ts';
import { aborted } from '../launch-in-time.ts';
import { machineName } from '../machine-name.ts';
import { makeUnique } from '../make-unique.ts';
import type { LaunchSpec, RestoreOptions, SnapshotSource, SpareSpec } from '../runtime.ts';
import { agentCommand, scratchMib, writeBundle } from './bundle.ts';
import { ImageFolder } from './checkpoint.ts';
import { ContainerChannel } from './container-channel.ts';
import { GvisorMachine } from './gvisor-machine.ts';
import { type Platform, type Runsc, runscFlags } from './runsc-program.ts';
import { Sandbox } from './sandbox.ts';
import type { SnapshotJob } from './snapshot-thread.ts';
import type { Template } from './template.ts';

const mib = 1024 * 1024;
/** runsc, the gofer and the sandbox's own kernel. */
export const sandboxOverheadMib = 384;
/** A process of the guest is one on the host too. */
const processesMaxCount = 2048;

/** What of the host a launch needs. */
export interface LaunchHost {
  readonly cacheDir: string;
  readonly cgroups: CgroupRoot | undefined;
  readonly runsc: Runsc;
  readonly platform: Platform;
  readonly thread: JobThread<SnapshotJob>;
}

export interface LaunchOrder {
  /** Whose the machine will be; without a session nobody's, until it is claimed. */
  readonly spec: LaunchSpec | SpareSpec;
  readonly template: Template;
  readonly snapshot?: { readonly source: SnapshotSource; readonly renew: RestoreOptions['renew'] };
  /** When it was asked for, on the clock of `performance`. */
  readonly started: number;
  readonly signal: AbortSignal;
}

/** Where a container is on the host, for as long as there is one. */
export interface Place {
  readonly id: MachineId;
  readonly directory: string;
  readonly cgroupFiles: readonly string[];
}

/** A container that goes on from an image. Each has a state of its own: runsc does not use one twice. */
export function startSandbox(
  { runsc, platform }: Pick<LaunchHost, 'runsc' | 'platform'>,
  { id, directory, cgroupFiles }: Place,
  imageDir: string,
  stateDir: string,
): Sandbox {
  const flags = runscFlags(stateDir, platform);
  const command = [runsc.path, ...flags, 'restore', `--image-path=${imageDir}`, `--bundle=${directory}`, id];
  return new Sandbox({ id, command, cgroupFiles });
}

export async function launchMachine(host: LaunchHost, order: LaunchOrder): Promise<GvisorMachine> {
  const { spec, template, snapshot, started, signal } = order;
  const id = makeId('machine');
  const session = 'session' in spec ? spec : undefined;
  await using undo = new AsyncDisposableStack();

  const directory = join(host.cacheDir, 'containers', machineName({ session: null, ...spec, id }, 'container'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  await writeBundle(directory, {
    rootDir: template.rootDir,
    command: agentCommand(template.size),
    size: template.size,
  });
  const group = `${ownerMark}.${id}`;
  const place: Place = { id, directory, cgroupFiles: await joinGroup(host.cgroups, group, template, undo) };
  const imageDir = snapshot === undefined ? template.imageDir : await unpack(host, template, snapshot.source, undo);
  signal.throwIfAborted();
  const stateDir = join(directory, 'state-0');
  const sandbox = startSandbox(host, place, imageDir, stateDir);
  undo.defer(() => sandbox.kill());
  const spawnedMs = performance.now() - started;
  const channel = new ContainerChannel(sandbox);
  // The identity is sent before the container runs: what it waits for is the launch, which has a limit of its own.
  const guest = undo.use(openGuest(channel, { identifyTimeoutMs: 2 * limits.launchTimeoutMs }));
  const died = sandbox.exited.then((words): never => {
    throw new Error(`runsc ended before the machine was confirmed (${words})`);
  });
  died.catch(() => undefined);
  const confirmed = makeUnique(guest, session?.session ?? id, {
    after: snapshot?.source.epoch ?? 0,
    renew: snapshot?.renew ?? true,
    signal,
  });
  const { bootId, epoch } = await Promise.race([confirmed, died, aborted(signal)]);
  // The image has been read: the container answers.
  if (snapshot !== undefined) await rm(imageDir, { recursive: true, force: true });
  const confirmedMs = performance.now() - started;
  undo.move();
  return new GvisorMachine({
    place,
    spec: session,
    bootId,
    epoch,
    timings: { spawnedMs, restoredMs: confirmedMs, confirmedMs },
    guest,
    channel,
    sandbox,
    stateDir,
    host,
    template,
    release: async () => {
      await rm(directory, { recursive: true, force: true });
      if (host.cgroups !== undefined) await removeGroup(host.cgroups, group);
    },
  });
}

/** What a snapshot holds, in the clear, in memory: believed, and whole, or not there. */
async function unpack(
  { thread, runsc }: LaunchHost,
  template: Template,
  source: SnapshotSource,
  undo: AsyncDisposableStack,
): Promise<string> {
  const folder = undo.use(await ImageFolder.make());
  const { snapshot, tenant, session, epoch } = source;
  const expected = { snapshot, tenant, session, epoch, templateDigest: template.digest, vmm: runsc.version };
  await thread.run({ type: 'unseal', source: source.fd, imagePath: folder.imagePath, key: source.key, expected });
  return folder.path;
}

async function joinGroup(
  cgroups: CgroupRoot | undefined,
  name: string,
  { size }: Template,
  undo: AsyncDisposableStack,
): Promise<readonly string[]> {
  if (cgroups === undefined) return [];
  undo.defer(() => removeGroup(cgroups, name));
  const { memoryMib, vcpus } = sizes[size];
  return makeGroup(cgroups, name, {
    memoryMaxBytes: (memoryMib + scratchMib(size) + sandboxOverheadMib) * mib,
    processesMaxCount,
    cpus: vcpus + 0.25,
  });
}
