// A session on this host for one command: opened with progress on stderr, and stopped by the command's signals.

import { setMaxListeners } from 'node:events';
import {
  BulkheadError,
  type Language,
  type SessionId,
  type SizeName,
  defaultSize,
  languages,
  parseId,
  sizeNames,
} from '@bulkhead/protocol';
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
import { nearest } from './nearest.ts';

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

/** Errors: `invalid_request`. */
export function parseSessionId(text: string | undefined): SessionId {
  const id = text === undefined ? undefined : parseId('session', text);
  if (id !== undefined) return id;
  throw new BulkheadError(
    'invalid_request',
    text === undefined ? 'Which session?' : 'This is not the id of a session.',
    {
      hint: '`bulkhead session list` shows them.',
      details: { field: 'session' },
    },
  );
}

/** Errors: `invalid_request` with a suggestion. */
export function parseSize(text: string = defaultSize): SizeName {
  const found = sizeNames.find((name) => name === text);
  if (found === undefined) throw unknownValue('size', text, sizeNames);
  return found;
}

/** Errors: `invalid_request` with a suggestion. */
export function parseLanguage(text: string = 'python'): Language {
  const short: Readonly<Record<string, Language>> = { py: 'python', js: 'javascript', node: 'javascript', sh: 'bash' };
  const found = languages.find((name) => name === text) ?? short[text];
  if (found === undefined) throw unknownValue('language', text, languages);
  return found;
}

function unknownValue(kind: string, text: string, known: readonly string[]): BulkheadError {
  const suggestion = nearest(text, known);
  const hint = suggestion === undefined ? '' : `Did you mean ${suggestion}? `;
  return new BulkheadError('invalid_request', `There is no ${kind} ${JSON.stringify(text)}.`, {
    hint: `${hint}There is: ${known.join(', ')}.`,
    details: { field: kind, expected: known },
  });
}
