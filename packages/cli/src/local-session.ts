// A session on this host for one command: opened with progress on stderr, and stopped by the command's signals.

import { setMaxListeners } from 'node:events';
import {
  BulkheadError,
  type Language,
  type SizeName,
  type TenantId,
  defaultSize,
  languages,
  parseId,
  sizeNames,
} from '@bulkhead/protocol';
import { type Bulkhead, type Config, type SessionHandle, loadConfig, openBulkhead } from '@bulkhead/server';
import type { CommandContext } from './command.ts';
import { nearest } from './nearest.ts';

/** Whoever works on this host through the command line is one tenant. */
export const localTenant: TenantId = ((): TenantId => {
  const id = parseId('tenant', `ten_${'0'.repeat(26)}`);
  if (id === undefined) throw new Error('The id of the local tenant is not valid');
  return id;
})();

export function configure(context: CommandContext): Config {
  const config = loadConfig();
  context.stdout.color = config.color;
  context.stderr.color = config.color;
  return config;
}

export interface OpenedBulkhead extends AsyncDisposable {
  readonly bulkhead: Bulkhead;
  /** Ends with the command, at latest: aborted when everything has to end. */
  createSession(size: SizeName, signal: AbortSignal): Promise<SessionHandle>;
}

export async function openLocal(
  context: CommandContext,
  options: { readonly quiet: boolean },
): Promise<OpenedBulkhead> {
  const bulkhead = await openBulkhead(configure(context));
  const { ended } = context.interrupts;
  // The second signal ends every session; turns that run end with it.
  const onEnded = (): void => void bulkhead.sessions.close();
  if (ended.aborted) onEnded();
  ended.addEventListener('abort', onEnded, { once: true });
  const onProgress = (message: string): void => {
    void context.stderr.line(context.stderr.style('dim', message));
  };
  return {
    bulkhead,
    createSession(size, signal) {
      const either = AbortSignal.any([signal, ended]);
      setMaxListeners(0, either);
      const request = { tenant: localTenant, size };
      return bulkhead.sessions.createSession(request, { signal: either, ...(options.quiet ? {} : { onProgress }) });
    },
    async [Symbol.asyncDispose]() {
      ended.removeEventListener('abort', onEnded);
      await bulkhead[Symbol.asyncDispose]();
    },
  };
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
