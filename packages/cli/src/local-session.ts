// A session on this host for one command: opened with progress on stderr, and stopped by the command's signals.

import { setMaxListeners } from 'node:events';
import type { SessionId } from '@bulkhead/protocol';
import {
  type Bulkhead,
  type Config,
  type CreateSessionOptions,
  type CreateSessionRequest,
  type SessionHandle,
  loadConfig,
  localTenant,
  openBulkhead,
} from '@bulkhead/server';
import type { CommandContext } from './command.ts';

export function configure(context: CommandContext): Config {
  const config = loadConfig();
  context.stdout.color = config.color;
  context.stderr.color = config.color;
  return config;
}

export interface OpenedBulkhead extends AsyncDisposable {
  readonly bulkhead: Bulkhead;
  /** Ends with the command, at latest: aborted when everything has to end. */
  createSession(request: LocalRequest, signal: AbortSignal): Promise<SessionHandle>;
  /** One that is kept, resumed when it sleeps. */
  openSession(id: SessionId, signal: AbortSignal): Promise<SessionHandle>;
  /** For what else is asked of sessions: progress on stderr, ended with the command. */
  readonly options: CreateSessionOptions;
}

export type LocalRequest = Omit<CreateSessionRequest, 'tenant'>;

export async function openLocal(
  context: CommandContext,
  { quiet, keep = false }: { readonly quiet: boolean; readonly keep?: boolean },
): Promise<OpenedBulkhead> {
  const bulkhead = await openBulkhead(configure(context), { keep });
  const { ended } = context.interrupts;
  // The second signal ends every session; turns that run end with it.
  const onEnded = (): void => void bulkhead.sessions.close();
  if (ended.aborted) onEnded();
  ended.addEventListener('abort', onEnded, { once: true });
  const onProgress = (message: string): void => {
    void context.stderr.line(context.stderr.style('dim', message));
  };
  const options: CreateSessionOptions = { signal: ended, ...(quiet ? {} : { onProgress }) };
  const endingWith = (signal: AbortSignal): CreateSessionOptions => {
    const either = AbortSignal.any([signal, ended]);
    setMaxListeners(0, either);
    return { ...options, signal: either };
  };
  return {
    bulkhead,
    options,
    createSession: (request, signal) =>
      bulkhead.sessions.createSession({ ...request, tenant: localTenant }, endingWith(signal)),
    openSession: (id, signal) => bulkhead.sessions.openSession(localTenant, id, endingWith(signal)),
    async [Symbol.asyncDispose]() {
      ended.removeEventListener('abort', onEnded);
      await bulkhead[Symbol.asyncDispose]();
    },
  };
}
