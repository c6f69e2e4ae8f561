/** A session's life. `terminated` and `failed` are final; nothing leaves them. */
export const sessionStates = ['creating', 'ready', 'busy', 'terminating', 'terminated', 'failed'] as const;
export type SessionState = (typeof sessionStates)[number];

export const sessionTransitions: Readonly<Record<SessionState, readonly SessionState[]>> = {
  creating: ['ready', 'terminating', 'failed'],
  ready: ['busy', 'terminating', 'failed'],
  busy: ['ready', 'terminating', 'failed'],
  terminating: ['terminated', 'failed'],
  terminated: [],
  failed: [],
};

/** Whether a session may go from one state to another. */
export function canTransition(from: SessionState, to: SessionState): boolean {
  return sessionTransitions[from].includes(to);
}
