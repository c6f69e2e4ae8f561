// Writes initramfs archives: cpio in the "newc" form of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst,
// uncompressed, because an emulated processor unpacks slowly. The kernel takes several, one after the other, as one.

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { RecipeFile } from './image-recipe.ts';

interface Entry {
  readonly name: string;
  readonly mode: number;
  readonly data?: Uint8Array;
  readonly device?: readonly [major: number, minor: number];
}

const directory = (name: string): Entry => ({ name, mode: 0o040755 });
const file = (name: string, mode: number, data: Uint8Array): Entry => ({ name, mode: 0o100000 | mode, data });
const link = (name: string, target: string): Entry => ({ name, mode: 0o120777, data: Buffer.from(target) });

/** The modules a guest's devices and file systems need; what they depend on is worked out. */
const wantedModules = ['virtio_mmio', 'virtio_blk', 'virtio_console', 'virtio_rng', 'erofs', 'overlay'];

/** The commands that init uses. */
const applets =
  'sh mount umount insmod mkdir chmod chown ln cp echo usleep sync poweroff chroot ifconfig switch_root'.split(' ');

/** The part of an initramfs that comes from packages: busybox and kernel modules, in the order in which they load. */
export async function makeBaseInitramfs(busyboxPath: string, modulePaths: readonly string[]): Promise<Buffer> {
  const modules = await orderModules(modulePaths);
  return writeArchive([
    ...['bin', 'dev', 'proc', 'sys', 'lower', 'scratch', 'root', 'modules', 'agent'].map(directory),
    { name: 'dev/console', mode: 0o020600, device: [5, 1] },
    file('bin/busybox', 0o755, await readFile(busyboxPath)),
    ...applets.map((name) => link(`bin/${name}`, 'busybox')),
    ...modules.map(({ name, content }, index) =>
      file(`modules/${String(index).padStart(2, '0')}-${name}.ko`, 0o644, content),
    ),
  ]);
}

/** The part that comes from the checkout: init and the agent. */
export function makeAgentInitramfs(init: Buffer, agentFiles: readonly RecipeFile[]): Buffer {
  const folders = new Set<string>();
  for (const { name } of agentFiles) {
    const parts = name.split('/').slice(0, -1);
    parts.forEach((_, index) => folders.add(`agent/${parts.slice(0, index + 1).join('/')}`));
  }
  return writeArchive([
    ...[...folders].sort().map(directory),
    ...agentFiles.map(({ name, content }) =>
      file(`agent/${name}`, name.startsWith('library/bin/') ? 0o755 : 0o644, content),
    ),
    file('init', 0o755, init),
  ]);
}

interface Module {
  readonly name: string;
  readonly content: Buffer;
}

async function orderModules(paths: readonly string[]): Promise<readonly Module[]> {
  const pathByName = new Map(paths.map((path) => [moduleName(basename(path, '.ko')), path]));
  const ordered: Module[] = [];
  const seen = new Set<string>();
  const add = async (name: string, neededBy: string): Promise<void> => {
    if (seen.has(name)) return;
    seen.add(name);
    const path = pathByName.get(name);
    if (path === undefined) throw new Error(`the kernel package has no module ${name}, which ${neededBy} needs`);
    const content = await readFile(path);
    for (const dependency of moduleDependencies(content)) await add(moduleName(dependency), name);
    ordered.push({ name, content });
  };
  for (const name of wantedModules) await add(name, 'a guest');
  return ordered;
}

const moduleName = (name: string): string => name.replaceAll('-', '_');

/** The names in `depends=` of the module's `.modinfo` section, which is a list of strings that end with a zero byte. */
export function moduleDependencies(content: Buffer): readonly string[] {
  const key = Buffer.from('\0depends=');
  const start = content.indexOf(key);
  if (start < 0) return [];
  const from = start + key.length;
  const value = content.toString('latin1', from, content.indexOf(0, from));
  return value.split(',').filter((name) => name !== '');
}

function writeArchive(entries: readonly Entry[]): Buffer {
  const chunks: Buffer[] = [];
  const write = (entry: Entry, inode: number): void => {
    const data = Buffer.from(entry.data ?? []);
    const name = Buffer.from(`${entry.name}\0`);
    const [major, minor] = entry.device ?? [0, 0];
    const links = 1;
    const fields = [inode, entry.mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0];
    const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
    chunks.push(padded(Buffer.concat([header, name])), padded(data));
  };
  entries.forEach((entry, index) => write(entry, index + 1));
  write({ name: 'TRAILER!!!', mode: 0 }, 0);
  return Buffer.concat(chunks);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
