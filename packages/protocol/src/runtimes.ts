/** What makes machines. `fake` is for Bulkhead's own tests: it isolates nothing. */
export const runtimeNames = ['qemu', 'gvisor', 'fake'] as const;
export type RuntimeName = (typeof runtimeNames)[number];
