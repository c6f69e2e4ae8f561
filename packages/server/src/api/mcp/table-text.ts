// Data frames, which the guest sends as `application/vnd.bulkhead.table+json`, as Markdown for models. Whatever does not have the form is no table.

import { z } from 'zod';
import { printable } from '../../lib/printable.ts';
import { mcpLimits } from './mcp-limits.ts';

export const tableMimeType = 'application/vnd.bulkhead.table+json';

const cellSchema = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const arrays = z.object({
  columns: z.custom<readonly unknown[]>(Array.isArray),
  rows: z.custom<readonly unknown[]>(Array.isArray),
  totalRows: z.int().min(0),
});
const shownColumns = z.array(z.object({ name: z.string() })).min(1);
const shownRows = z.array(z.custom<readonly unknown[]>(Array.isArray));

export const tableSchema = z.object({
  columns: z.array(z.string()),
  rows: z.array(z.array(cellSchema)),
  totalRows: z.int().describe('Rows of the data frame; `rows` may have fewer.'),
  totalColumns: z.int(),
});
export type Table = z.infer<typeof tableSchema>;

/** The part that is shown; only that is looked at. */
export function parseTable(data: unknown): Table | undefined {
  const table = arrays.safeParse(data).data;
  const columns = shownColumns.safeParse(table?.columns.slice(0, mcpLimits.tableColumnsMaxCount)).data;
  const rows = shownRows.safeParse(table?.rows.slice(0, mcpLimits.tableRowsMaxCount)).data;
  if (table === undefined || columns === undefined || rows === undefined) return undefined;
  return {
    columns: columns.map(({ name }) => printable(name, mcpLimits.cellMaxLength)),
    rows: rows.map((row) => columns.map((_, column) => toCell(row[column]))),
    totalRows: Math.max(table.totalRows, table.rows.length),
    totalColumns: table.columns.length,
  };
}

function toCell(value: unknown): Table['rows'][number][number] {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  return printable(typeof value === 'string' ? value : JSON.stringify(value), mcpLimits.cellMaxLength);
}

/** Rows and columns that are not shown are counted below it. */
export function tableMarkdown({ columns, rows, totalRows, totalColumns }: Table): string {
  const shown = [
    line(columns.map(escapeCell)),
    line(columns.map(() => '---')),
    ...rows.map((row) => line(row.map((cell) => (cell === null ? '' : escapeCell(String(cell)))))),
  ];
  const missing = [
    ...(totalRows > rows.length ? [`${rows.length} of ${totalRows} rows`] : []),
    ...(totalColumns > columns.length ? [`${columns.length} of ${totalColumns} columns`] : []),
  ];
  return missing.length === 0 ? shown.join('\n') : `${shown.join('\n')}\n(${missing.join(' and ')} shown)`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function escapeCell(text: string): string {
  return text.replaceAll(/[\\|]/g, String.raw`\$&`);
}
