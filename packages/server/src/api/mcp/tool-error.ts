// What fails is told to the model as the result of the tool, with its code and what to do next, so that it can correct itself.

import { BulkheadError, type ErrorCode, errorCatalogue, parseId } from '@bulkhead/protocol';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { given } from '../../lib/given.ts';
import { printable } from '../../lib/printable.ts';
import { mcpLimits } from './mcp-limits.ts';

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of a closed object
const errorCodes = Object.keys(errorCatalogue) as [ErrorCode, ...ErrorCode[]];

/** Without `details`: they are for programs, and may be long. But who may not do something can say which decision it was. */
export const errorOutput = z.object({ code: z.enum(errorCodes), message: z.string(), hint: z.string().optional() });

/** Whatever was thrown as an error that a caller may see. */
export function toBulkheadError(error: unknown): BulkheadError {
  if (BulkheadError.is(error)) return error;
  return new BulkheadError('internal', 'Bulkhead failed.', {
    hint: 'Try again; if it goes on, the log of the server says more.',
    cause: error,
  });
}

export function toolError(thrown: unknown): CallToolResult {
  const { code, message, hint, details } = toBulkheadError(thrown);
  const decision = parseId('decision', String(details?.['decision']));
  const words = [message, hint, decision]
    .filter((text) => text !== undefined)
    .map((text) => printable(text, mcpLimits.messageMaxLength));
  return {
    isError: true,
    content: [{ type: 'text', text: `error ${code}: ${words.join('\n')}` }],
    _meta: { 'bulkhead/error': { code, message: words[0] ?? '', ...given({ hint, decision }) } },
  };
}

/** Every problem of the arguments, by its path. */
export function argumentsError(tool: string, error: z.ZodError): BulkheadError {
  const problems = error.issues.slice(0, 10).map(({ path, message }) => {
    const where = path.map(String).join('.');
    return where === '' ? message : `${where}: ${message}`;
  });
  return new BulkheadError('invalid_request', `The arguments of ${tool} are not valid. ${problems.join('; ')}`, {
    hint: 'Call it again with what its input schema asks for.',
    details: { problems },
  });
}
