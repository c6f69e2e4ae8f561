import type { ToolSettings } from '@bulkhead/protocol';
import type { Tool } from './tool.ts';

/** What a tool is opened with: where its secrets come from, each time that it needs one. */
export interface ToolSurroundings {
  readonly secret: (name: string) => Promise<string>;
}

/** Errors: `invalid_request`, `tool_failed`, those of `secret`. */
export async function openTool(name: string, settings: ToolSettings, { secret }: ToolSurroundings): Promise<Tool> {
  const { SqlTool } = await import('./sql/sql-tool.ts');
  const { description, host, port, database, user, password, tls, queries, freeQueries, writes } = settings;
  const { timeoutMs, rowsMaxCount, bytesMax } = settings;
  return await SqlTool.open({
    name,
    description,
    database,
    connect: async () => ({
      host,
      port,
      database,
      user,
      ...(password === undefined ? {} : { password: await secret(password) }),
      // A socket on this host has no TLS.
      ...(tls === 'off' || host.startsWith('/') ? {} : { ssl: { rejectUnauthorized: true } }),
    }),
    queries,
    freeQueries,
    writes,
    bounds: { timeoutMs, rowsMaxCount, bytesMax },
  });
}
