import type { Config } from '../config/config.ts';
import type { AcceleratorFinding } from './check-accelerator.ts';
import type { Plan } from '../placement/place.ts';
import { examineHost } from './examine-host.ts';
import type { HostReport } from './host-report.ts';
import { tryCgroups, trySealedMemory } from './qemu-trials.ts';

export interface DoctorOptions extends Pick<Config, 'cacheDir'> {
  /** What a session would run on, and why. */
  readonly planRuntimes?: () => Promise<Plan>;
  /** Boots a guest with what is on this host already, or remembers what that showed; it builds no image. */
  readonly probeAccelerator?: (options: { readonly signal: AbortSignal }) => Promise<AcceleratorFinding>;
}

export interface Doctor {
  examine(options?: { readonly signal?: AbortSignal }): Promise<HostReport>;
}

/** Without a proof of the better the weaker is stated. */
async function notProbed(): Promise<AcceleratorFinding> {
  return { tried: false, accelerator: 'tcg', proof: 'no guest has been booted. Until then emulation is stated.' };
}

export async function openDoctor(options: DoctorOptions): Promise<Doctor> {
  const { cacheDir, probeAccelerator = notProbed, planRuntimes } = options;
  return {
    examine: ({ signal } = {}) =>
      examineHost({
        cacheDir,
        probeAccelerator,
        trySealedMemory,
        tryCgroups,
        ...(planRuntimes === undefined ? {} : { planRuntimes }),
        ...(signal === undefined ? {} : { signal }),
      }),
  };
}
