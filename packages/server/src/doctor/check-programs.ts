import type { Finding } from './host-report.ts';
import type { CommandResult, HostAccess } from './host-access.ts';

/** The runtime refuses an older QEMU. */
const qemuOldest = [7, 2] as const;

/** A version's first two numbers and its whole text, from the first line that `qemu-system-x86_64 --version` prints. */
export function parseQemuVersion(
  text: string,
): { readonly major: number; readonly minor: number; readonly text: string } | undefined {
  const match = /\bversion (\d+)\.(\d+)(\S*)/.exec(text);
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), text: `${match[1]}.${match[2]}${match[3]}` };
}

/** What to say of a program that gave no exit code or not the one expected. */
export function describeFailure(program: string, result: CommandResult): string {
  if (result.problem === 'missing') return `${program} is not installed or cannot be executed.`;
  if (result.problem === 'timeout') return `${program} did not end in time.`;
  const words = result.stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
  return `${program} ended with exit code ${result.exitCode}${words === '' ? '' : `: ${words}`}.`;
}

const installFix = (packageName: string): string =>
  `Run script/bootstrap, or: sudo apt-get install --no-install-recommends ${packageName}`;

export async function checkQemu(host: HostAccess, timeoutMs: number): Promise<Finding> {
  const result = await host.run(['qemu-system-x86_64', '--version'], timeoutMs);
  const version = parseQemuVersion(result.stdout);
  if (result.exitCode !== 0 || version === undefined) {
    return {
      status: 'fail',
      detail: describeFailure('qemu-system-x86_64', result),
      fix: installFix('qemu-system-x86'),
    };
  }
  const [major, minor] = qemuOldest;
  if (version.major < major || (version.major === major && version.minor < minor)) {
    return {
      status: 'fail',
      detail: `QEMU ${version.text} is older than ${major}.${minor}, the oldest that Bulkhead runs on.`,
      fix: 'Use Debian 12 or Ubuntu 24.04 or later, or put a newer qemu-system-x86_64 on PATH.',
    };
  }
  return { status: 'ok', detail: `QEMU ${version.text}.` };
}

export async function checkMmdebstrap(host: HostAccess, timeoutMs: number): Promise<Finding> {
  const result = await host.run(['mmdebstrap', '--version'], timeoutMs);
  if (result.exitCode !== 0) {
    return {
      status: 'warn',
      detail: `${describeFailure('mmdebstrap', result)} No image can be built; one that is built already still works.`,
      fix: installFix('mmdebstrap'),
    };
  }
  return { status: 'ok', detail: `${result.stdout.trim().split('\n')[0]}.` };
}

/** Whether the list of compressors that `mkfs.erofs --help` ends with has lz4hc. */
export function hasLz4hc(help: string): boolean {
  return /^\s*Available compressors are:.*\blz4hc\b|^\s+lz4hc\b/m.test(help);
}

export async function checkErofs(host: HostAccess, timeoutMs: number): Promise<Finding> {
  const result = await host.run(['mkfs.erofs', '--help'], timeoutMs);
  const missing = result.exitCode !== 0 ? describeFailure('mkfs.erofs', result) : undefined;
  if (missing !== undefined || !hasLz4hc(result.stdout + result.stderr)) {
    return {
      status: 'warn',
      detail: `${missing ?? 'mkfs.erofs is there, but cannot compress with lz4hc.'} No image can be built; one that is built already still works.`,
      fix: installFix('erofs-utils'),
    };
  }
  return { status: 'ok', detail: 'mkfs.erofs is there and compresses with lz4hc.' };
}

export async function checkVersions(host: HostAccess, timeoutMs: number): Promise<Finding> {
  const [kernel, npm] = await Promise.all([
    host.readText('/proc/sys/kernel/osrelease'),
    host.run(['npm', '--version'], timeoutMs),
  ]);
  const npmText = npm.exitCode === 0 ? npm.stdout.trim() : 'not found';
  return {
    status: 'ok',
    detail: `Linux ${kernel?.trim() ?? 'unknown'}, Node ${process.versions.node}, npm ${npmText}.`,
  };
}
