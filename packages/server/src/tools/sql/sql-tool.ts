// SQL on a PostgreSQL that is somebody else's. Two walls, neither of which trusts what the guest sends: the login belongs to the tenant and may do no
// more than the tenant may, which is looked into before it is used; and a call is one statement on a connection of its own, in a transaction that
// reads, with a deadline and bounds on what comes back. A guest that sends SET, RESET ROLE or set_config changes a connection that nobody uses again.

import { BulkheadError } from '@bulkhead/protocol';
import { Client, type ClientConfig } from 'pg';
import { type Arguments, isList } from '../../authority/arguments.ts';
import type { Parameters } from '../../authority/parameters.ts';
import type { OperationDescription, Resource, ToolDescription } from '../../authority/tool-description.ts';
import type { Tool, ToolContext, ToolResult } from '../tool.ts';
import { checkLogin } from './sql-login.ts';
import { type SqlAnswer, type SqlBounds, readStatement } from './sql-statement.ts';

export interface NamedQuery {
  readonly description: string;
  /** With `$1`, `$2`, … in the order of `parameters`. */
  readonly sql: string;
  readonly parameters: Parameters;
}

export interface SqlToolOptions {
  readonly name: string;
  readonly description: string;
  /** Of the tenant's own login; its password is made or fetched for each connection. */
  readonly connect: () => Promise<ClientConfig>;
  /** How policies name the database. */
  readonly database: string;
  readonly queries: Readonly<Record<string, NamedQuery>>;
  /** Whether any statement may be sent; with policies' leave, as operation `query`. */
  readonly freeQueries: boolean;
  /** Whether statements may write. */
  readonly writes: boolean;
  readonly bounds: SqlBounds;
}

export const sqlBoundsDefault: SqlBounds = {
  timeoutMs: 10_000,
  rowsMaxCount: 10_000,
  bytesMax: 8_388_608,
};

/** The operation that takes a statement of the guest's own. */
const freeOperation = 'query';

const freeDescription: OperationDescription = {
  description: 'Runs one SQL statement with the rights of this tenant.',
  resource: 'Database',
  parameters: {
    sql: { kind: 'text', description: 'one statement, with $1, $2, … for `values`', maxLength: 65_536 },
    values: { kind: 'json', description: 'the list of values for $1, $2, …', optional: true },
  },
};

/** What it is to policies and to guests, from its settings alone. */
export function describeSqlTool(
  settings: Pick<SqlToolOptions, 'name' | 'description' | 'queries' | 'freeQueries'>,
): ToolDescription {
  const named = Object.entries(settings.queries).map(
    ([name, { description, parameters }]) => [name, { description, parameters, resource: 'Query' }] as const,
  );
  const operations: Record<string, OperationDescription> = Object.fromEntries(named);
  if (settings.freeQueries) operations[freeOperation] = freeDescription;
  return { name: settings.name, description: settings.description, operations };
}

/** What a call works on, from its settings alone. */
export function resourceOfSqlCall(
  { name, database, freeQueries }: Pick<SqlToolOptions, 'name' | 'database' | 'freeQueries'>,
  operation: string,
): Resource {
  if (operation === freeOperation && freeQueries) return { type: 'Database', id: database, within: [] };
  return { type: 'Query', id: `${name}.${operation}`, within: [{ type: 'Database', id: database }] };
}

export class SqlTool implements Tool {
  readonly description: ToolDescription;
  readonly #options: SqlToolOptions;

  private constructor(options: SqlToolOptions) {
    this.#options = options;
    this.description = describeSqlTool(options);
  }

  /** Errors: `invalid_request` when the login may do more than a tenant's may, or two operations have one name; `tool_failed`. */
  static async open(options: SqlToolOptions): Promise<SqlTool> {
    if (options.freeQueries && Object.hasOwn(options.queries, freeOperation)) {
      throw new BulkheadError('invalid_request', `A query cannot be named ${freeOperation} beside free queries.`);
    }
    await using connection = await connect(options);
    await checkLogin(connection.client);
    return new SqlTool(options);
  }

  resourceOf(operation: string): Resource {
    return resourceOfSqlCall(this.#options, operation);
  }

  async call(operation: string, checked: Arguments, { signal }: ToolContext): Promise<ToolResult> {
    const { sql, values } = this.#statement(operation, checked);
    await using connection = await connect(this.#options);
    const { writes, bounds } = this.#options;
    const answer = await readStatement(connection.client, { sql, values, writes, bounds, signal });
    return { kind: 'value', value: answer satisfies SqlAnswer };
  }

  #statement(operation: string, { value }: Arguments): { readonly sql: string; readonly values: readonly unknown[] } {
    if (operation === freeOperation && this.#options.freeQueries) {
      const { sql, values = [] } = value;
      if (typeof sql !== 'string' || !isList(values)) throw badValues();
      return { sql, values: values.map(plainValue) };
    }
    const query = this.#options.queries[operation];
    if (query === undefined) throw new BulkheadError('not_found', 'There is no such operation.');
    return { sql: query.sql, values: Object.keys(query.parameters).map((name) => value[name] ?? null) };
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

function plainValue(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) throw badValues();
  return value;
}

function badValues(): BulkheadError {
  return new BulkheadError('invalid_request', '`values` has to be a list of texts, numbers, booleans and nulls.', {
    details: { field: 'values' },
  });
}

interface OpenConnection extends AsyncDisposable {
  readonly client: Client;
}

/** A connection that serves one call. Errors: `tool_failed`. */
async function connect({ connect: configOf, bounds }: SqlToolOptions): Promise<OpenConnection> {
  const config = await configOf();
  const client = new Client({
    ...config,
    application_name: 'bulkhead-tool',
    connectionTimeoutMillis: bounds.timeoutMs,
    statement_timeout: bounds.timeoutMs,
    // The host's own deadline comes a little later than the server's, which can say what happened.
    query_timeout: bounds.timeoutMs + 1000,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    // What it says may hold the address and the user: it stays on the host.
    throw new BulkheadError('tool_failed', 'The database cannot be reached.', { cause: error });
  }
  return {
    client,
    // Whatever it was in the middle of: the server rolls back what has no end.
    [Symbol.asyncDispose]: async () => await client.end().catch(() => undefined),
  };
}
