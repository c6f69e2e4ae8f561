import { type SizeName, sizeNames, sizes } from '@bulkhead/protocol';
import { parseMeminfo } from '../lib/meminfo.ts';
import { overheadMib, reserveMib } from '../runtimes/admission.ts';
import type { Finding, SessionRoom } from './host-report.ts';
import type { HostAccess } from './host-access.ts';

/** What an idle machine keeps to itself, with room to spare. */
const idleMib = 64;

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** How many sessions of each size fit into so many bytes. */
export function sessionRoom(availableBytes: number): Readonly<Record<SizeName, SessionRoom>> {
  const usableMib = Math.max(0, availableBytes / 2 ** 20 - reserveMib);
  const room = (size: SizeName): SessionRoom => ({
    full: Math.floor(usableMib / (sizes[size].memoryMib + overheadMib)),
    // The template's own copy is shared by the sessions of a tenant and is there once.
    idle: Math.max(0, Math.floor((usableMib - sizes[size].memoryMib) / idleMib)),
  });
  return { small: room('small'), medium: room('medium'), large: room('large') };
}

export async function readAvailableBytes(host: HostAccess): Promise<number> {
  return parseMeminfo((await host.readText('/proc/meminfo')) ?? '').get('MemAvailable') ?? 0;
}

export async function checkMemory(host: HostAccess): Promise<Finding> {
  const available = await readAvailableBytes(host);
  const room = sessionRoom(available);
  const fits = sizeNames.map((size) => `${size} ${room[size].full} (idle ${room[size].idle})`).join(', ');
  const detail = `${gib(available)} free. Sessions that fit when each uses all its memory, roughly: ${fits}.`;
  if (room.small.full === 0) {
    return { status: 'fail', detail, fix: `Free at least ${sizes.small.memoryMib + overheadMib + reserveMib} MiB.` };
  }
  return { status: 'ok', detail };
}

/** The active swap areas of `/proc/swaps`. */
export function parseSwaps(text: string): readonly string[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const path = line.split(/\s+/)[0] ?? '';
      return path === '' ? [] : [path];
    });
}

export async function checkSwap(host: HostAccess): Promise<Finding> {
  const areas = parseSwaps((await host.readText('/proc/swaps')) ?? '');
  if (areas.length === 0) return { status: 'ok', detail: 'No swap: guest memory is not written to disk by the host.' };
  if (areas.every((area) => area.includes('/zram'))) {
    return { status: 'ok', detail: `Swap is compressed memory only (${areas.join(', ')}).` };
  }
  return {
    status: 'warn',
    detail: `Swap is on (${areas.join(', ')}): guest memory may reach the disk and outlive its session.`,
    fix: 'sudo swapoff --all, and remove swap from /etc/fstab; or encrypt it with a key that is made at each boot',
  };
}

export async function checkKsm(host: HostAccess): Promise<Finding> {
  const run = (await host.readText('/sys/kernel/mm/ksm/run'))?.trim();
  if (run === undefined) return { status: 'ok', detail: 'This kernel cannot merge equal pages (KSM).' };
  if (run !== '1') return { status: 'ok', detail: 'Merging of equal pages (KSM) is off.' };
  return {
    status: 'warn',
    detail: 'Merging of equal pages (KSM) is on: a session may find out, by timing writes, what pages another one has.',
    fix: 'echo 2 | sudo tee /sys/kernel/mm/ksm/run (this also separates what is merged already)',
  };
}

/** The chosen word of a sysfs setting such as `always [madvise] never`. */
export function parseChoice(text: string): string | undefined {
  return /\[(\w+)\]/.exec(text)?.[1];
}

export async function checkHugePages(host: HostAccess): Promise<Finding> {
  const folder = '/sys/kernel/mm/transparent_hugepage';
  const [anonymous, shared] = await Promise.all(
    ['enabled', 'shmem_enabled'].map(async (file) => parseChoice((await host.readText(`${folder}/${file}`)) ?? '')),
  );
  if (anonymous === undefined) return { status: 'ok', detail: 'This kernel has no transparent huge pages.' };
  const detail = `Transparent huge pages: ${anonymous}, for shared memory ${shared ?? 'never'}.`;
  if (anonymous !== 'always') return { status: 'ok', detail };
  return {
    status: 'ok',
    detail: `${detail} QEMU's own memory may be backed by 2 MiB pages, so that each session takes more memory.`,
    fix: 'For more sessions on this host: echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled',
  };
}

const diskMinBytes = 2 * 2 ** 30;
const diskEnoughBytes = 6 * 2 ** 30;

export async function checkDisk(host: HostAccess, cacheDir: string): Promise<Finding> {
  const free = await host.freeBytes(cacheDir);
  const detail = `${gib(free)} free where images are kept (${cacheDir}).`;
  if (free >= diskEnoughBytes) return { status: 'ok', detail };
  return {
    status: free < diskMinBytes ? 'fail' : 'warn',
    detail: `${detail} Building an image needs ${gib(diskMinBytes)}, scratch disks of sessions need more.`,
    fix: 'Free space there, remove images that are not used (bulkhead image prune), or choose another cache directory.',
  };
}
