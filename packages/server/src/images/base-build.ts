// The base layer: root disk, kernel and the packages' half of the initramfs, made by mmdebstrap after guest/image's recipe.

import { createHash } from 'node:crypto';
import { access, chmod, mkdir, mkdtemp, open, readdir, readFile, rename, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { diskFull, outOfSpace, programFailed, toolsMissing } from './build-errors.ts';
import { errnoOf } from '../lib/errno.ts';
import { type BuildProcessResult, runBuildProcess } from './build-process.ts';
import { recordBuilder, removeTree } from './image-cache.ts';
import { type ImagePackage, packageSchema, type SealedFile, sealedFileSchema } from './image.ts';
import { type Recipe, suite } from './image-recipe.ts';
import { makeBaseInitramfs } from './initramfs.ts';
import { parsePackageIndex } from './package-index.ts';

export const baseFileNames = ['kernel', 'root.erofs', 'initramfs.base'] as const;

export interface Base {
  readonly baseDigest: string;
  readonly kernelVersion: string;
  readonly files: Readonly<Record<(typeof baseFileNames)[number], SealedFile>>;
  readonly tools: Readonly<Record<string, string>>;
  readonly packages: readonly ImagePackage[];
}

const baseSchema: z.ZodType<Base> = z.object({
  baseDigest: z.string(),
  kernelVersion: z.string(),
  files: z.record(z.enum(baseFileNames), sealedFileSchema),
  tools: z.record(z.string(), z.string()),
  packages: z.array(packageSchema),
});

export interface BaseBuildOptions {
  readonly recipe: Recipe;
  /** Empty, ours, on the file system of the cache. */
  readonly workDir: string;
  readonly mmdebstrap: string;
  readonly minFreeBytes: number;
  readonly onStage: (stage: string) => void;
  readonly signal?: AbortSignal;
}

/** The base in a folder, or undefined when there is none that is whole. */
export async function loadBase(dir: string): Promise<Base | undefined> {
  try {
    const base = baseSchema.parse(JSON.parse(await readFile(join(dir, 'base.json'), 'utf8')));
    await Promise.all(baseFileNames.map((name) => access(join(dir, name))));
    return base;
  } catch {
    return undefined; // not there, or of another version of this program: it is built anew
  }
}

/** Builds a base; answers the folder in `workDir` where it is, complete and on disk. */
export async function buildBase(options: BaseBuildOptions): Promise<string> {
  const { recipe, workDir, onStage } = options;
  await checkHost(options);
  const finished = join(workDir, 'base');
  await mkdir(finished, { mode: 0o700 });
  // mmdebstrap works as root in our folder. As an ordinary user it works under subordinate ids, which cannot enter a private folder.
  const outside = process.getuid?.() === 0 ? undefined : await mkdtemp(join(tmpdir(), 'bulkhead-image-'));
  await recordBuilder(workDir, outside);
  const roomDir = outside ?? join(workDir, 'room');
  try {
    const out = await bootstrap(options, roomDir, outside);
    onStage('kernel');
    const unpacked = await unpackKernel(out, workDir, options.signal);
    await rename(join(out, 'root.erofs'), join(finished, 'root.erofs')).catch(async (error: unknown) => {
      if (errnoOf(error) !== 'EXDEV') throw error;
      await run('cp', ['--preserve=timestamps', join(out, 'root.erofs'), finished], { cwd: workDir });
    });
    await rename(unpacked.kernelPath, join(finished, 'kernel'));
    await writeFile(
      join(finished, 'initramfs.base'),
      await makeBaseInitramfs(unpacked.busyboxPath, unpacked.modulePaths),
    );
    onStage('finish');
    const files = await sealFiles(finished, baseFileNames);
    const base: Base = {
      baseDigest: recipe.baseDigest,
      kernelVersion: unpacked.kernelVersion,
      files,
      tools: await toolVersions(options),
      packages: [...parsePackageIndex(await readFile(join(out, 'packages.txt'), 'utf8'))],
    };
    await writeFile(join(finished, 'base.json'), JSON.stringify(base));
    return finished;
  } finally {
    if (outside !== undefined) await removeTree(outside);
  }
}

async function bootstrap(options: BaseBuildOptions, roomDir: string, outside: string | undefined): Promise<string> {
  const { recipe, workDir, onStage, signal } = options;
  const recipeDir = join(roomDir, 'recipe');
  const temporaryDir = join(roomDir, 'tmp');
  await mkdir(recipeDir, { recursive: true });
  await mkdir(temporaryDir);
  for (const { name, content } of recipe.baseFiles) {
    await writeFile(join(recipeDir, name), content);
    await chmod(join(recipeDir, name), 0o755);
  }
  if (outside !== undefined) for (const dir of [roomDir, recipeDir]) await chmod(dir, 0o755);
  if (outside !== undefined) await chmod(temporaryDir, 0o1777);
  const out = join(roomDir, 'out');
  const takeOut =
    outside === undefined ? 'mv "$1/.bulkhead/out" "$BULKHEAD_OUT"' : `copy-out /.bulkhead/out ${shellWord(roomDir)}`;
  onStage('index');
  const environment = [
    'LC_ALL=C.UTF-8',
    `TMPDIR=${temporaryDir}`,
    `BULKHEAD_RECIPE=${recipeDir}`,
    `BULKHEAD_OUT=${out}`,
  ];
  // A builder that is killed takes mmdebstrap with it, which then cleans up.
  const endWithUs = ['setpriv', '--pdeathsig', 'TERM'];
  const mmdebstrap = [
    options.mmdebstrap,
    '--variant=custom',
    '--format=null',
    '--skip=cleanup',
    `--mode=${outside === undefined ? 'root' : 'unshare'}`,
    '--aptopt=Acquire::Languages "none"',
    `--setup-hook=${recipeHook('prepare.sh')}`,
    `--customize-hook=${recipeHook('assemble.sh')}`,
    `--customize-hook=${takeOut}`,
    suite,
    '-',
  ];
  const result = await run('env', [...environment, ...endWithUs, ...mmdebstrap], {
    cwd: workDir,
    onSpawn: (pid) => recordBuilder(workDir, outside, pid),
    onLine: (line) => {
      const stage = /^bulkhead-stage: (\w+)$/.exec(line)?.[1];
      if (stage !== undefined) onStage(stage);
    },
    ...(signal === undefined ? {} : { signal }),
  });
  if (result.exitCode !== 0) throw programFailed('mmdebstrap', result);
  return out;
}

const recipeHook = (script: string): string => `"$BULKHEAD_RECIPE/${script}" "$BULKHEAD_RECIPE" "$1"`;

const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

interface UnpackedKernel {
  readonly kernelPath: string;
  readonly kernelVersion: string;
  readonly modulePaths: readonly string[];
  readonly busyboxPath: string;
}

async function unpackKernel(out: string, workDir: string, signal: AbortSignal | undefined): Promise<UnpackedKernel> {
  const cancel = signal === undefined ? {} : { signal };
  for (const name of ['kernel', 'busybox']) {
    const result = await run('dpkg-deb', ['-x', join(out, `${name}.deb`), join(workDir, name)], {
      cwd: workDir,
      ...cancel,
    });
    if (result.exitCode !== 0) throw programFailed('dpkg-deb', result);
  }
  const boot = await readdir(join(workDir, 'kernel/boot'));
  const kernel = boot.find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error('the kernel package has no boot/vmlinuz-*');
  const modules = await readdir(join(workDir, 'kernel/lib/modules'), { recursive: true });
  return {
    kernelPath: join(workDir, 'kernel/boot', kernel),
    kernelVersion: kernel.slice('vmlinuz-'.length),
    modulePaths: modules
      .filter((path) => path.endsWith('.ko'))
      .map((path) => join(workDir, 'kernel/lib/modules', path)),
    busyboxPath: join(workDir, 'busybox/bin/busybox'),
  };
}

/** Digests, sizes and times of files that are on disk, so that a power cut after the rename cannot leave an empty one. */
export async function sealFiles<Name extends string>(
  dir: string,
  names: readonly Name[],
): Promise<Record<Name, SealedFile>> {
  const sealed: [string, SealedFile][] = [];
  for (const name of names) {
    await using file = await open(join(dir, name), 'r');
    await file.sync();
    const { size, mtimeMs } = await file.stat();
    sealed.push([name, { sha256: await digestFile(join(dir, name)), bytes: size, mtimeMs: Math.floor(mtimeMs) }]);
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry for each name
  return Object.fromEntries(sealed) as Record<Name, SealedFile>;
}

export async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await using file = await open(path, 'r');
  const stream: AsyncIterable<Buffer> = file.createReadStream({ highWaterMark: 1_048_576, autoClose: false });
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest('hex');
}

const neededPrograms: Readonly<Record<string, string>> = {
  'mkfs.erofs': 'erofs-utils',
  'apt-get': 'apt',
  'dpkg-deb': 'dpkg',
  setpriv: 'util-linux',
  chroot: 'coreutils',
  xargs: 'findutils',
  tar: 'tar',
};
const archiveKeyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

async function checkHost(options: BaseBuildOptions): Promise<void> {
  const { mmdebstrap, minFreeBytes, workDir } = options;
  const room = await statfs(workDir);
  const freeBytes = room.bavail * room.bsize;
  if (freeBytes < minFreeBytes) throw diskFull(minFreeBytes, freeBytes);
  const packages = { [mmdebstrap]: 'mmdebstrap', ...neededPrograms };
  const find = 'PATH=$PATH:/usr/sbin:/sbin; for name; do command -v "$name" >/dev/null || echo "$name"; done';
  const { log: missing } = await run('sh', ['-c', find, 'sh', ...Object.keys(packages)], { cwd: '/' });
  const keyring = await access(archiveKeyring).then(
    () => [],
    () => ['debian-archive-keyring'],
  );
  const absent = [...missing.map((name) => packages[name] ?? name), ...keyring];
  if (absent.length > 0) throw toolsMissing([...new Set(absent)]);
}

async function toolVersions(options: BaseBuildOptions): Promise<Record<string, string>> {
  return Object.fromEntries([
    await version('mmdebstrap', options.mmdebstrap, ['--version']),
    await version('erofs-utils', 'dpkg-query', ['-W', '-f', '${Version}', 'erofs-utils']),
    await version('dpkg', 'dpkg-deb', ['--version']),
  ]);
}

async function version(name: string, command: string, args: readonly string[]): Promise<[string, string]> {
  const { log } = await run(command, args, { cwd: '/' });
  return [name, /\d+(?:\.\d+)+/.exec(log.join(' '))?.[0] ?? 'unknown'];
}

async function run(
  command: string,
  args: readonly string[],
  options: Parameters<typeof runBuildProcess>[2],
): Promise<BuildProcessResult> {
  try {
    return await runBuildProcess(command, args, options);
  } catch (error) {
    if (outOfSpace(error)) throw diskFull(undefined, undefined, error);
    if (errnoOf(error) === 'ENOENT') throw toolsMissing([command]);
    throw error;
  }
}
