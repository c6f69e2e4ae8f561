/**
 * A session's life. `busy`: a turn runs. `capturing`: it stands still for a copy. `suspended`: it has no machine, only a snapshot. `terminated` and
 * `failed` are final; nothing leaves them.
 */
export const sessionStates = [
  'creating',
  'ready',
  'busy',
  'capturing',
  'suspending',
  'suspended',
  'resuming',
  'terminating',
  'terminated',
  'failed',
] as const;
export type SessionState = (typeof sessionStates)[number];

export const sessionTransitions: Readonly<Record<SessionState, readonly SessionState[]>> = {
  creating: ['ready', 'terminating', 'failed'],
  ready: ['busy', 'capturing', 'suspending', 'resuming', 'terminating', 'failed'],
  busy: ['ready', 'terminating', 'failed'],
  capturing: ['ready', 'terminating', 'failed'],
  suspending: ['ready', 'suspended', 'terminating', 'failed'],
  suspended: ['resuming', 'terminating', 'failed'],
  resuming: ['ready', 'suspended', 'terminating', 'failed'],
  terminating: ['terminated', 'failed'],
  terminated: [],
  failed: [],
};

/** Whether a session may go from one state to another. */
export function canTransition(from: SessionState, to: SessionState): boolean {
  return sessionTransitions[from].includes(to);
}
