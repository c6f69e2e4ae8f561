import { BulkheadError, type Language, type TurnRequest, languages, limits } from '@bulkhead/protocol';

/** A turn request that has been checked; every default is filled in. */
export interface CheckedTurnRequest {
  readonly code: Uint8Array;
  readonly language: Language;
  readonly context: string;
  readonly timeoutMs: number;
}

/** The one that the guest agent warms before a template is frozen: a first turn finds its interpreter started. */
export const defaultContext = 'default';
const contextPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Errors: `invalid_request`, `limit_exceeded`. */
export function checkTurnRequest(request: TurnRequest): CheckedTurnRequest {
  const { code, language = 'python', context = defaultContext, timeoutMs = limits.turnTimeoutDefaultMs } = request;
  if (typeof code !== 'string') throw new BulkheadError('invalid_request', 'The code of a turn has to be text.');
  const bytes = new TextEncoder().encode(code);
  if (bytes.length > limits.codeMaxBytes) {
    throw new BulkheadError(
      'limit_exceeded',
      `The code has ${bytes.length} bytes; a turn takes ${limits.codeMaxBytes}.`,
      {
        hint: 'Upload large data as a file and read it in the session.',
        details: { limit: 'codeMaxBytes', maximum: limits.codeMaxBytes, got: bytes.length },
      },
    );
  }
  checkLanguage(language);
  checkContext(context);
  if (!Number.isFinite(timeoutMs) || timeoutMs < 1 || timeoutMs > limits.turnTimeoutMaxMs) {
    throw new BulkheadError('invalid_request', `The timeout has to be between 1 and ${limits.turnTimeoutMaxMs} ms.`, {
      details: { field: 'timeoutMs', minimum: 1, maximum: limits.turnTimeoutMaxMs },
    });
  }
  return { code: bytes, language, context, timeoutMs };
}

export function checkLanguage(language: Language): void {
  if (languages.includes(language)) return;
  throw new BulkheadError('invalid_request', `There is no language ${JSON.stringify(language)}.`, {
    hint: `Languages: ${languages.join(', ')}.`,
    details: { field: 'language', expected: languages },
  });
}

export function checkContext(context: string): void {
  if (contextPattern.test(context)) return;
  throw new BulkheadError(
    'invalid_request',
    'A context is named with 1 to 64 letters, digits, dots, dashes and underscores.',
    {
      details: { field: 'context' },
    },
  );
}
