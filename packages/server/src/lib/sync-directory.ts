import { open } from 'node:fs/promises';

/** Makes what was created, renamed or removed in a directory outlive a crash of the host. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}
