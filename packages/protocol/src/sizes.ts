/** What a session may be given. A size is a template of its own: memory and processors are fixed when it is frozen. */
export const sizes = {
  small: { vcpus: 1, memoryMib: 512, scratchMib: 2048 },
  medium: { vcpus: 2, memoryMib: 1024, scratchMib: 8192 },
  large: { vcpus: 4, memoryMib: 4096, scratchMib: 16_384 },
} as const;
export type SizeName = keyof typeof sizes;
export interface Size {
  readonly vcpus: number;
  readonly memoryMib: number;
  readonly scratchMib: number;
}
export const sizeNames: readonly SizeName[] = ['small', 'medium', 'large'];
export const defaultSize: SizeName = 'small';
