import type { SqlSettings } from '@bulkhead/protocol';
import type { ToolSurroundings } from '../tool.ts';
import { SqlTool } from './sql-tool.ts';

/** Errors: `invalid_request`, `tool_failed`, those of `secret`. */
export async function openSqlTool(name: string, settings: SqlSettings, { secret }: ToolSurroundings): Promise<SqlTool> {
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
