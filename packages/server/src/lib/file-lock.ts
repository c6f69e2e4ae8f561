// flock(2): the kernel lets go when the last holder of the descriptor ends, however it ends, so there is no stale lock.

import koffi from 'koffi';

const flock = koffi.load(null).func('int flock(int fd, int operation)');
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Whether the open file is locked now, for this descriptor and those that are made from it. */
export function tryLock(fd: number): boolean {
  if (Number(flock(fd, LOCK_EX | LOCK_NB)) === 0) return true;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EAGAIN'] || errno === koffi.os.errno['EINTR']) return false;
  throw new Error(`flock failed with errno ${errno}`);
}
