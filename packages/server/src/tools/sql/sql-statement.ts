// One statement, and no more than its bounds of what it answers with. Bytes are counted on the connection, before a row is built: a row has no bound
// in PostgreSQL short of a gigabyte.

import { BulkheadError } from '@bulkhead/protocol';
import type { Client, FieldDef } from 'pg';
import Cursor from 'pg-cursor';
import { printable } from '../../lib/printable.ts';

export interface SqlBounds {
  readonly timeoutMs: number;
  readonly rowsMaxCount: number;
  readonly bytesMax: number;
}

export interface SqlStatement {
  readonly sql: string;
  readonly values: readonly unknown[];
  readonly writes: boolean;
  readonly bounds: SqlBounds;
  readonly signal: AbortSignal;
}

/** `rows` in the order of `columns`. Numbers that a double cannot hold, dates and everything else that JSON has no word for are text. */
export interface SqlAnswer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly (readonly unknown[])[];
  readonly rowCount: number;
}

/** COPY has rows of its own, for which a cursor has no ear; `watch` ends the call, and what comes until then is dropped. */
class RowCursor extends Cursor<unknown[]> {
  handleCopyData(): void {}
  handleCopyInResponse(): void {}
}

const batchRows = 500;
/** What PostgreSQL says that is no row: descriptions, notices. */
const overheadBytes = 65_536;
const messageMaxLength = 500;

/** Errors: `tool_failed` with what the database says, `tool_timeout`, `limit_exceeded`, `cancelled`. The connection is of no use afterwards. */
export async function readStatement(client: Client, statement: SqlStatement): Promise<SqlAnswer> {
  const { bounds, signal, writes } = statement;
  using deadline = watch(client, bounds, signal);
  try {
    await client.query(writes ? 'BEGIN' : 'BEGIN READ ONLY');
    const answer = await readAll(client, statement, deadline);
    await client.query('COMMIT');
    if (deadline.why() !== undefined) throw deadline.why();
    return answer;
  } catch (error) {
    throw deadline.why() ?? sqlError(error, bounds);
  }
}

async function readAll(client: Client, { sql, values, bounds }: SqlStatement, deadline: Deadline): Promise<SqlAnswer> {
  let columns: readonly FieldDef[] = [];
  const cursor = client.query(new RowCursor(sql, [...values], { rowMode: 'array', types: textTypes }));
  const rows: unknown[][] = [];
  for (;;) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[][]>();
    cursor.read(batchRows, (error: Error | null | undefined, found, result) => {
      if (error instanceof Error) reject(error);
      else {
        columns = result.fields;
        resolve(found);
      }
    });
    const batch = await Promise.race([promise, deadline.ended]);
    rows.push(...batch);
    if (rows.length > bounds.rowsMaxCount) {
      throw new BulkheadError('limit_exceeded', `The statement answers with more than ${bounds.rowsMaxCount} rows.`, {
        hint: 'Aggregate in SQL, or ask for them in parts with LIMIT and OFFSET.',
        details: { limit: 'rowsMaxCount', maximum: bounds.rowsMaxCount },
      });
    }
    if (batch.length < batchRows) break;
  }
  await cursor.close();
  return {
    columns: columns.map(({ name, dataTypeID }) => ({ name, type: typeNames[dataTypeID] ?? 'text' })),
    rows: rows.map((row) => row.map((cell, index) => toJson(cell, columns[index]?.dataTypeID))),
    rowCount: rows.length,
  };
}

/** Everything comes as PostgreSQL writes it; what JSON has a word for is turned into that here. */
const textTypes = { getTypeParser: () => (text: string) => text };
const typeNames: Readonly<Record<number, string>> = {
  16: 'boolean',
  20: 'bigint',
  21: 'smallint',
  23: 'integer',
  25: 'text',
  114: 'json',
  700: 'real',
  701: 'double',
  1043: 'text',
  1082: 'date',
  1114: 'timestamp',
  1184: 'timestamptz',
  1700: 'numeric',
  2950: 'uuid',
  3802: 'jsonb',
};

function toJson(cell: unknown, type: number | undefined): unknown {
  if (typeof cell !== 'string') return null;
  const name = typeNames[type ?? 0];
  if (name === 'boolean') return cell === 't';
  if (name === 'smallint' || name === 'integer') return Number(cell);
  const isDouble = name === 'real' || name === 'double';
  return isDouble && Number.isFinite(Number(cell)) ? Number(cell) : cell;
}

interface Deadline extends Disposable {
  /** Rejects when the call is over before its answer. */
  readonly ended: Promise<never>;
  /** Why it is over. */
  why(): BulkheadError | undefined;
}

/** Ends the connection when time or bytes are used up, or the caller gives up: whatever the server is doing then, nobody waits for it. */
function watch(client: Client, { timeoutMs, bytesMax }: SqlBounds, signal: AbortSignal): Deadline {
  let why: BulkheadError | undefined;
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => undefined);
  const end = (error: BulkheadError): void => {
    why ??= error;
    client.connection.stream.destroy();
    ended.reject(why);
  };
  let bytes = 0;
  const onData = (chunk: Uint8Array): void => {
    bytes += chunk.length;
    if (bytes > bytesMax + overheadBytes) {
      end(
        new BulkheadError('limit_exceeded', `The statement answers with more than ${bytesMax} bytes.`, {
          hint: 'Ask for fewer columns or rows.',
          details: { limit: 'bytesMax', maximum: bytesMax },
        }),
      );
    }
  };
  const onAbort = (): void => end(new BulkheadError('cancelled', 'The call was cancelled.'));
  const onCopy = (): void => end(new BulkheadError('tool_failed', 'COPY is none of the statements that a tool runs.'));
  const timer = setTimeout(() => end(tooLate(timeoutMs)), timeoutMs + 500);
  client.connection.stream.prependListener('data', onData);
  client.connection.on('copyInResponse', onCopy);
  client.connection.on('copyOutResponse', onCopy);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return {
    ended: ended.promise,
    why: () => why,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      client.connection.stream.removeListener('data', onData);
    },
  };
}

function tooLate(timeoutMs: number): BulkheadError {
  return new BulkheadError('tool_timeout', `The statement took longer than ${timeoutMs} ms.`, {
    hint: 'Narrow it down: fewer rows, an index, an aggregate.',
    details: { timeoutMs },
  });
}

/** What the database says is about the tenant's own statement, in the tenant's own rights; that much it may know. */
function sqlError(error: unknown, { timeoutMs }: SqlBounds): BulkheadError {
  if (BulkheadError.is(error)) return error;
  const state: unknown = Reflect.get(Object(error), 'code');
  if (state === '57014') return tooLate(timeoutMs);
  const isSqlState = typeof state === 'string' && /^[0-9A-Z]{5}$/.test(state);
  const said = isSqlState && error instanceof Error ? error.message : 'the connection broke';
  return new BulkheadError('tool_failed', `The database refused the statement: ${printable(said, messageMaxLength)}.`, {
    ...(isSqlState ? { details: { sqlState: state } } : {}),
    cause: error,
  });
}
