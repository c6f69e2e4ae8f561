/**
 * How strong the wall around a machine is, strongest first. `vm-emulated` behaves like `vm-kvm` but is slower, and is not
 * a boundary that QEMU's own project supports against hostile code; `none` is the fake runtime of our tests.
 */
export const tiers = ['vm-kvm', 'vm-emulated', 'user-kernel', 'none'] as const;
export type Tier = (typeof tiers)[number];

export const accelerators = ['kvm', 'tcg', 'none'] as const;
export type Accelerator = (typeof accelerators)[number];
