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
const openers: Readonly<Partial<Record<RuntimeName, Opener>>> = {
  qemu: openQemuRuntime,
  fake: async () => {
    const { FakeRuntime } = await import('./runtimes/fake/fake-runtime.ts');
    return new FakeRuntime();
  },
};
/** What each setting opens, in the order of preference: `auto` never the fake one. */
const selections: Readonly<Record<Config['runtime'], readonly RuntimeName[]>> = {
  auto: ['qemu'],
  qemu: ['qemu'],
  gvisor: ['gvisor'],
  fake: ['fake'],
};

/** Errors: `host_unsupported` when the one that is configured cannot be used, or none can. */
export async function openRuntimes(config: Config): Promise<OpenedRuntimes> {
  await using opening = new AsyncDisposableStack();
  const names = selections[config.runtime];
  const absences: Absence[] = [];
  const tried = await Promise.all(
    names.map(async (name) => {
      try {
        return opening.use(await open(name, config));
      } catch (error) {
        if (!BulkheadError.is(error, 'host_unsupported') || names.length === 1) throw error;
        absences.push({ runtime: name, why: error.message });
        return undefined;
      }
    }),
  );
  const all = tried.filter((runtime) => runtime !== undefined);
  const offers = all.map(({ capabilities }) => capabilities);
  const { runtime: chosen } = plan({ minima: {} }, offers);
  const first = all[offers.findIndex(({ runtime }) => chosen === runtime)];
  if (first === undefined) {
    const reasons = absences.map(({ runtime, why }) => `${runtime}: ${why}`).join(' ');
    throw new BulkheadError('host_unsupported', `No runtime can be used here. ${reasons}`, {
      hint: 'Run script/bootstrap, then `bulkhead doctor`.',
    });
  }
  const opened = opening.move();
  return { all, absences, first, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

async function open(name: RuntimeName, config: Config): Promise<Runtime> {
  const opener = openers[name];
  if (opener === undefined) throw new BulkheadError('host_unsupported', `There is no runtime ${name}.`);
  return await opener(config);
}

/** QEMU takes as long to say its version as we take to load what drives it. */
export async function openQemuRuntime(config: Config): Promise<QemuRuntime> {
  const { findQemu } = await import('./runtimes/qemu/qemu-program.ts');
  const qemu = findQemu();
  const { createQemuRuntime } = await import('./runtimes/qemu/qemu-runtime.ts');
  return await createQemuRuntime({ ...config, qemu });
}
