/**
 * How strong the wall around a machine is, strongest first. `vm-emulated` behaves like `vm-kvm` but is slower, and is not
 * a boundary that QEMU's own project supports against hostile code; `user-kernel` is a kernel in user space, on the host's own; `none` is the fake runtime of our tests.
 */
export const tiers = ['vm-kvm', 'vm-emulated', 'user-kernel', 'none'] as const;
export type Tier = (typeof tiers)[number];

/** Whether a wall of one tier is at least as strong as one of another. */
export function isAtLeast(tier: Tier, minimum: Tier): boolean {
  return tiers.indexOf(tier) <= tiers.indexOf(minimum);
}

/** The stronger of two tiers. */
export function strongerTier(one: Tier, other: Tier): Tier {
  return isAtLeast(one, other) ? one : other;
}

/**
 * How a machine's code gets onto the processor: by hardware virtualisation (`kvm`), by translation (`tcg`), or natively with its system calls
 * caught (`systrap`, `ptrace`).
 */
export const accelerators = ['kvm', 'tcg', 'systrap', 'ptrace', 'none'] as const;
export type Accelerator = (typeof accelerators)[number];
