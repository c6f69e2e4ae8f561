// The runtimes of this host that can be used, each found out by trying. One that was asked for by name has to be there; of all of
// them, those that are not are told with the reason, and nothing takes their place unnoticed.

import { BulkheadError, type RuntimeName } from '@bulkhead/protocol';
import type { Config } from './config/config.ts';
import { type Absence, plan } from './placement/place.ts';
import type { QemuRuntime } from './runtimes/qemu/qemu-runtime.ts';
import type { Runtime } from './runtimes/runtime.ts';

export interface OpenedRuntimes extends AsyncDisposable {
  /** In the order of preference; never empty. */
  readonly all: readonly Runtime[];
  readonly absences: readonly Absence[];
  /** The one that a session gets which asks for nothing. */
  readonly first: Runtime;
}

type Opener = (config: Config) => Promise<Runtime>;

/** In the order of preference. What is heavy is loaded when it is opened. */
const openers: Readonly<Record<RuntimeName, Opener>> = {
  qemu: openQemuRuntime,
  gvisor: async (config) => {
    const { createGvisorRuntime } = await import('./runtimes/gvisor/gvisor-runtime.ts');
    return await createGvisorRuntime(config);
  },
  fake: async () => {
    const { FakeRuntime } = await import('./runtimes/fake/fake-runtime.ts');
    return new FakeRuntime();
  },
};
/** What each setting opens, in the order of preference: `auto` never the fake one. */
const selections: Readonly<Record<Config['runtime'], readonly RuntimeName[]>> = {
  auto: ['qemu', 'gvisor'],
  qemu: ['qemu'],
  gvisor: ['gvisor'],
  fake: ['fake'],
};

/** Those that can be used, and why the others cannot. Errors: what is no question of what this host can do. */
export async function tryRuntimes(config: Config): Promise<Omit<OpenedRuntimes, 'first'>> {
  await using opening = new AsyncDisposableStack();
  const absences: Absence[] = [];
  const tried = await Promise.all(
    selections[config.runtime].map(async (name) => {
      try {
        return opening.use(await openers[name](config));
      } catch (error) {
        if (!BulkheadError.is(error, 'host_unsupported')) throw error;
        absences.push({ runtime: name, why: error.message, hint: error.hint });
        return undefined;
      }
    }),
  );
  const opened = opening.move();
  const all = tried.filter((runtime) => runtime !== undefined);
  return { all, absences, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** Errors: `host_unsupported` when the one that is configured cannot be used, or none can. */
export async function openRuntimes(config: Config): Promise<OpenedRuntimes> {
  await using opening = new AsyncDisposableStack();
  const { all, absences } = opening.use(await tryRuntimes(config));
  const offers = all.map(({ capabilities }) => capabilities);
  const { runtime: chosen } = plan({ minima: {} }, offers);
  const first = all[offers.findIndex(({ runtime }) => chosen === runtime)];
  if (first === undefined) {
    const reasons = absences.map(({ runtime, why }) => `${runtime}: ${why}`).join(' ');
    const hint = absences.length === 1 ? absences[0]?.hint : undefined;
    throw new BulkheadError('host_unsupported', `No runtime can be used here. ${reasons}`, {
      hint: hint ?? 'Run script/bootstrap, then `bulkhead doctor`.',
    });
  }
  const opened = opening.move();
  return { all, absences, first, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** QEMU takes as long to say its version as we take to load what drives it. */
export async function openQemuRuntime(config: Config): Promise<QemuRuntime> {
  const { findQemu } = await import('./runtimes/qemu/qemu-program.ts');
  const qemu = findQemu();
  const { createQemuRuntime } = await import('./runtimes/qemu/qemu-runtime.ts');
  return await createQemuRuntime({ ...config, qemu });
}
