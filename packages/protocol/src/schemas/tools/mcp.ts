import { z } from 'zod';
import { limits } from '../../limits.ts';
import { lineSchema } from '../common.ts';
import { description, identifier, parameter } from './parts.ts';
import { addressRanges, httpCredential } from './remote.ts';

const mcpName = lineSchema(1, 128);

const pinnedTool = z.strictObject({
  name: mcpName.meta({ description: 'As the server names it.' }),
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .meta({
      description: 'SHA-256 of its name, title, description and input schema in their canonical form (RFC 8785).',
    }),
  description,
  parameters: z
    .record(
      identifier,
      parameter.extend({ as: mcpName.exactOptional().meta({ description: 'How the server names it, if otherwise.' }) }),
    )
    .refine((all) => Object.keys(all).length <= limits.toolParametersMaxCount, {
      message: `at most ${limits.toolParametersMaxCount} parameters`,
    }),
});
export type PinnedTool = z.output<typeof pinnedTool>;

export const mcpSettings = z.strictObject({
  kind: z.literal('mcp'),
  description,
  url: z
    .string()
    .max(2048)
    .refine((text) => URL.canParse(text) && isPlain(new URL(text)), {
      message: 'an http or https address without a user, a password or a fragment',
    })
    .meta({ description: 'Of a server that speaks MCP over streamable HTTP.' }),
  credential: httpCredential.exactOptional(),
  addresses: addressRanges,
  only: z
    .array(mcpName)
    .min(1)
    .max(limits.toolOperationsMaxCount)
    .exactOptional()
    .meta({ description: 'The tools of the server that are taken, by its names; without it, all.' }),
  tools: z
    .record(identifier, pinnedTool)
    .refine((all) => Object.keys(all).length <= limits.toolOperationsMaxCount, {
      message: `at most ${limits.toolOperationsMaxCount} tools`,
    })
    .exactOptional()
    .meta({
      description:
        'What the tools were when they were approved. Filled in with all that the server offers when it is left out; those that are given have to be as they are there. A tool that changes is refused until it is approved again.',
    }),
  timeoutMs: z.int().min(100).max(600_000).default(60_000),
  bytesMax: z.int().min(1024).max(67_108_864).default(4_000_000),
});
export type McpSettings = z.output<typeof mcpSettings>;

function isPlain({ protocol, username, password, hash }: URL): boolean {
  return /^https?:$/.test(protocol) && username === '' && password === '' && hash === '';
}
