// Lines of the shell that are not code.

import { BulkheadError, type Language } from '@bulkhead/protocol';
import { parseDurationMs } from './duration.ts';
import { parseLanguage } from './parse-values.ts';
import { nearest } from './nearest.ts';

export type ShellInput =
  | { readonly kind: 'code'; readonly code: string; readonly language: Language }
  | { readonly kind: 'lang'; readonly language: Language }
  | { readonly kind: 'timeout'; readonly timeoutMs: number }
  | { readonly kind: 'upload'; readonly local: string; readonly guest: string | undefined }
  | { readonly kind: 'download'; readonly guest: string; readonly local: string | undefined }
  | { readonly kind: 'files'; readonly path: string }
  | { readonly kind: 'help' | 'restart' | 'session' | 'quit' };

const names = ['help', 'files', 'upload', 'download', 'restart', 'session', 'timeout', 'lang', 'quit'] as const;

/** What a block means. Errors: `invalid_request` with a suggestion. */
export function readBlock(block: string, language: Language): ShellInput {
  if (block.includes('\n')) return { kind: 'code', code: block, language };
  if (block.startsWith('!')) return { kind: 'code', code: block.slice(1).trim(), language: 'bash' };
  const magic = /^%lang(?:\s+(.*))?$/.exec(block);
  if (magic !== null) return { kind: 'lang', language: parseLanguage(required('%lang', magic[1]?.trim())) };
  const directive = /^:([a-z]+)(?:\s+(.*))?$/.exec(block);
  if (directive === null) return { kind: 'code', code: block, language };
  return readDirective(directive[1] ?? '', splitWords(directive[2] ?? ''));
}

function readDirective(name: string, words: readonly string[]): ShellInput {
  const [first, second] = words;
  switch (name) {
    case 'help':
    case 'restart':
    case 'session':
    case 'quit':
      return { kind: name };
    case 'q':
    case 'exit':
      return { kind: 'quit' };
    case 'files':
      return { kind: 'files', path: first ?? '.' };
    case 'upload':
      return { kind: 'upload', local: required(':upload', first), guest: second };
    case 'download':
      return { kind: 'download', guest: required(':download', first), local: second };
    case 'timeout':
      return { kind: 'timeout', timeoutMs: parseDurationMs(required(':timeout', first)) };
    case 'lang':
      return { kind: 'lang', language: parseLanguage(required(':lang', first)) };
    default:
      throw unknownDirective(name);
  }
}

function unknownDirective(name: string): BulkheadError {
  const suggestion = nearest(name, names);
  return new BulkheadError('invalid_request', `The shell has no :${name}.`, {
    hint: suggestion === undefined ? ':help shows what it has.' : `Did you mean :${suggestion}?`,
  });
}

function required(directive: string, value: string | undefined): string {
  if (value !== undefined && value !== '') return value;
  throw new BulkheadError('invalid_request', `${directive} of what?`, { hint: ':help shows how it is written.' });
}

/** Words at spaces; quotes keep spaces in a word. */
function splitWords(text: string): readonly string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}
