import type { Guest } from '../guest/guest.ts';

/** What a caller may do with the guest beside turns: commands, background processes and files. */
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
>;
