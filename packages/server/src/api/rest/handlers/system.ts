import { languages, limits, sizes } from '@bulkhead/protocol';
import { makeOpenApiDocument } from '@bulkhead/protocol/openapi';
import { type HandlersOf, WithStatus } from '../handler.ts';

export const systemHandlers: HandlersOf<
  'getHealth' | 'getReadiness' | 'getOpenApi' | 'getCaller' | 'getLimits' | 'listTemplates' | 'listRuntimes'
> = {
  getHealth: async ({ service }) => ({ status: 'ok', version: service.version }),
  getReadiness: async ({ service }) => {
    const readiness = service.readiness();
    return readiness.status === 'ready' ? readiness : new WithStatus(503, readiness);
  },
  getOpenApi: async ({ service }) => openApiDocument(service.version),
  getCaller: async ({ caller: { tenant, subject, scopes, key } }) => ({ tenant, subject, scopes: [...scopes], key }),
  getLimits: async () => ({ limits, sizes, languages }),
  listTemplates: async ({ service, query: { limit, cursor } }) => {
    const all = await service.templates();
    // A template is found again by its digest, which is where a page ends.
    const after = cursor === undefined ? 0 : all.findIndex(({ digest }) => cursorOf(digest) === cursor) + 1;
    const items = all.slice(after, after + limit);
    const last = items.at(-1);
    return { items, nextCursor: last !== undefined && after + limit < all.length ? cursorOf(last.digest) : null };
  },
  listRuntimes: async ({ service }) => ({ items: await service.runtimes() }),
};

function cursorOf(digest: string): string {
  return digest.replaceAll(/[^A-Za-z0-9_-]/g, '-');
}

const documents = new Map<string, Readonly<Record<string, unknown>>>();

function openApiDocument(version: string): Readonly<Record<string, unknown>> {
  const made = documents.get(version) ?? { ...makeOpenApiDocument(version) };
  documents.set(version, made);
  return made;
}
