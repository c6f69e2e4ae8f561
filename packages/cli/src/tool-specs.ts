// The commands around tools, as data.

import type { CommandSpec } from './command.ts';
import { help, json } from './option-specs.ts';

export const toolSpecs: readonly CommandSpec[] = [
  {
    name: 'tool',
    usage: 'tool import-openapi FILE [OPTION]...',
    summary: 'the settings of a tool, from what describes its service',
    description: `Reads an OpenAPI 3 document, in JSON or YAML, and prints the settings of a tool that offers its operations: what
\`PUT /v1/tenants/{tenant}/tools/{tool}\` takes. Nothing is fetched and nothing is set up. An operation that is not certain to be
written as the service reads it is left out, with the reason, and is an error when it was asked for.`,
    options: {
      operations: {
        type: 'string',
        value: 'NAMES',
        help: 'only these, with commas between: the operationId, or "GET /path"; all of them unless said',
      },
      origin: { type: 'string', value: 'URL', help: 'where the service is, in place of what the document says' },
      secret: { type: 'string', value: 'NAME', help: 'the secret of the tenant that the service is called with' },
      json,
      help,
    },
    examples: [
      ['bulkhead tool import-openapi market.yaml > market.json', 'every operation that can be taken'],
      ['bulkhead tool import-openapi market.yaml --operations getPrice,listPrices --secret market-key', 'two of them'],
    ],
  },
];
