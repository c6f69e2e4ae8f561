// What this host can do, found out by trying each thing that a session needs. A check that does not answer in time is a
// warning of its own; no check can keep the others from reporting.

import type { AcceleratorFinding } from './check-accelerator.ts';
import { checkKvmDevice, judgeAccelerator, tierMeanings, tierOf } from './check-accelerator.ts';
import { checkCgroups } from './check-cgroups.ts';
import { type JailUser, checkCoreDumps, checkJail } from './check-jail.ts';
import {
  checkDisk,
  checkHugePages,
  checkKsm,
  checkMemory,
  checkSwap,
  readAvailableBytes,
  sessionRoom,
} from './check-memory.ts';
import { checkSmt, checkVulnerabilities } from './check-processor.ts';
import { judgeRuntimes, runtimeOfCheck } from './check-runtimes.ts';
import { checkErofs, checkMmdebstrap, checkQemu, checkVersions } from './check-programs.ts';
import type { Plan } from '../placement/place.ts';
import { type HostAccess, openHost } from './host-access.ts';
import { type Finding, type HostCheck, type HostReport, worstStatus } from './host-report.ts';

const checkTimeoutMs = 2000;
/** The boot probe waits for a guest under KVM and, when that says nothing, for one that is emulated. */
const probeTimeoutMs = 30_000;
const jailUserDefault: JailUser = { uid: 64_000, gid: 64_000 };

export interface ExamineOptions {
  /** Where images and templates are kept. */
  readonly cacheDir: string;
  /** Boots a tiny guest, or remembers what that showed. */
  readonly probeAccelerator: (options: { readonly signal: AbortSignal }) => Promise<AcceleratorFinding>;
  /** What a session would run on, with every runtime tried. */
  readonly planRuntimes?: () => Promise<Plan>;
  /** Makes sealed memory as a template is made of, and tries to write to it; what it saw, for people. Rejects when it is not sealed. */
  readonly trySealedMemory: () => Promise<string>;
  /** Whether the runtime itself could use control groups; when it says no, that counts. */
  readonly tryCgroups?: () => Promise<boolean>;
  /** Whom a machine's process becomes when we are root. */
  readonly jailUser?: JailUser;
  readonly host?: HostAccess;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The work's result, or a rejection when the time is over first. What the work still does then is bounded by its own limits. */
async function bounded<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const expired = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? expired : AbortSignal.any([expired, signal]);
  const { promise: over, reject } = Promise.withResolvers<never>();
  const stop = (): void =>
    reject(signal?.aborted === true ? signal.reason : new Error(`no answer within ${timeoutMs} ms`));
  if (either.aborted) stop();
  either.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work(either), over]);
  } finally {
    either.removeEventListener('abort', stop);
  }
}

/** Errors: only that of an aborted `signal`. */
export async function examineHost(options: ExamineOptions): Promise<HostReport> {
  const { host = openHost(), jailUser = jailUserDefault, timeoutMs = checkTimeoutMs, signal } = options;
  const check = async (name: string, examine: () => Promise<Finding>): Promise<HostCheck> => {
    try {
      return { name, ...(await bounded(timeoutMs, signal, examine)) };
    } catch (error) {
      signal?.throwIfAborted();
      return { name, status: 'warn', detail: `Could not be found out: ${describe(error)}.` };
    }
  };
  const accelerated = bounded(probeTimeoutMs, signal, (either) => options.probeAccelerator({ signal: either })).catch(
    (error: unknown): AcceleratorFinding => ({ accelerator: 'none', proof: describe(error) }),
  );
  const planned = bounded(probeTimeoutMs, signal, async () => (await options.planRuntimes?.()) ?? null).catch(
    () => null,
  );
  const examined = await Promise.all([
    check('qemu', () => checkQemu(host, timeoutMs)),
    check('jail', () => checkJail(host, jailUser, timeoutMs)),
    check('kvm-device', () => checkKvmDevice(host)),
    accelerated.then((found) => ({ name: 'accelerator', ...judgeAccelerator(found) })),
    check('sealed-memory', () => checkSealedMemory(options.trySealedMemory)),
    check('cgroups', () => checkCgroups(host, `bulkhead-doctor-${process.pid}`, options.tryCgroups)),
    check('memory', () => checkMemory(host)),
    check('disk', () => checkDisk(host, options.cacheDir)),
    check('swap', () => checkSwap(host)),
    check('ksm', () => checkKsm(host)),
    check('huge-pages', () => checkHugePages(host)),
    check('smt', () => checkSmt(host)),
    check('cpu-vulnerabilities', () => checkVulnerabilities(host)),
    check('core-dumps', () => checkCoreDumps(host)),
    check('mmdebstrap', () => checkMmdebstrap(host, timeoutMs)),
    check('mkfs-erofs', () => checkErofs(host, timeoutMs)),
    check('versions', () => checkVersions(host, timeoutMs)),
    planned.then((plan) => ({ name: 'runtimes', ...judgeRuntimes(plan) })),
  ]);
  signal?.throwIfAborted();
  const { accelerator } = await accelerated;
  const plan = await planned;
  const tier = plan?.tier ?? tierOf(accelerator);
  const checks = plan?.runtime === undefined ? examined : examined.map((each) => excuse(each, plan.runtime));
  return {
    status: worstStatus(checks),
    accelerator,
    tier,
    tierMeaning: tierMeanings[tier],
    room: sessionRoom(await readAvailableBytes(host)),
    checks,
    plan,
  };
}

/** What only one runtime needs keeps no session from running where another one can be used. */
function excuse(check: HostCheck, chosen: string | undefined): HostCheck {
  const concerns = runtimeOfCheck[check.name];
  return check.status !== 'fail' || concerns === undefined || concerns === chosen
    ? check
    : { ...check, status: 'warn' };
}

async function checkSealedMemory(trySealedMemory: () => Promise<string>): Promise<Finding> {
  try {
    return { status: 'ok', detail: await trySealedMemory() };
  } catch (error) {
    return {
      status: 'fail',
      detail: `Memory cannot be sealed, so a template could not be protected from a machine: ${describe(error)}`,
      fix: 'Use a kernel with memfd_create and file seals (Linux 3.17 and later), and no filter that forbids them.',
    };
  }
}
