import type { Guest } from '../guest/guest.ts';

export type { FileStat, GuestExec } from '../guest/guest.ts';

/** What a caller may do with the guest beside turns: commands, background processes, files, connections to its servers. */
export type SessionGuest = Pick<
  Guest,
  | 'listContexts'
  | 'exec'
  | 'startProcess'
  | 'listProcesses'
  | 'processOutput'
  | 'killProcess'
  | 'readFile'
  | 'writeFile'
  | 'listFiles'
  | 'stat'
  | 'move'
  | 'remove'
  | 'mkdir'
  | 'info'
  | 'connect'
>;
