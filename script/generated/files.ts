// The files that are made from the sources, each with what it has to say.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeOpenApiDocument } from '@bulkhead/protocol/openapi';
import { makeApiPage } from './api-page.ts';
import { makePythonTables, makeSyncClient } from './python-client.ts';

export interface GeneratedFile {
  /** From the root of the checkout. */
  readonly path: string;
  readonly text: string;
}

function readVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../../packages/server/package.json'), 'utf8');
  const version = /"version": "([^"]+)"/.exec(text)?.[1];
  if (version === undefined) throw new TypeError('packages/server/package.json has no version');
  return version;
}

export function makeGeneratedFiles(): readonly GeneratedFile[] {
  const version = readVersion();
  const document = makeOpenApiDocument(version);
  const client = 'clients/python/src/bulkhead';
  return [
    { path: 'docs/openapi.json', text: `${JSON.stringify(document, null, 2)}\n` },
    { path: 'docs/api.md', text: makeApiPage(document) },
    { path: `${client}/_protocol.py`, text: makePythonTables(version) },
    ...makeSyncClient().map(({ name, text }) => ({ path: `${client}/_sync/${name}`, text })),
  ];
}
