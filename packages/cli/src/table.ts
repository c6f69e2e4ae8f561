// Plain data for people.

import { terminalText } from './terminal-text.ts';

/** Rows with the same members as a table; what a table cannot show (lists, objects) is left to --json. */
export function formatTable(rows: readonly unknown[]): string {
  const records = rows.map(cells);
  const columns = [...new Set(records.flatMap((record) => Object.keys(record)))];
  if (columns.length === 0) return '(none)\n';
  const widths = columns.map((column) =>
    Math.max(column.length, ...records.map((record) => record[column]?.length ?? 0)),
  );
  const format = (values: readonly string[]): string =>
    values
      .map((value, index) => value.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  const lines = [format(columns), ...records.map((record) => format(columns.map((column) => record[column] ?? '')))];
  return `${lines.join('\n')}\n`;
}

/** One record, a member a line; lists of records as tables below. */
export function formatRecord(value: unknown): string {
  if (typeof value !== 'object' || value === null) return `${terminalText(String(value))}\n`;
  const simple = cells(value);
  const width = Math.max(0, ...Object.keys(simple).map((name) => name.length));
  const lines = Object.entries(simple).map(([name, text]) => `${name.padEnd(width)}  ${text}\n`);
  const lists = Object.entries(value)
    .filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]) && entry[1].length > 0)
    .map(([name, list]) => `\n${name} (${list.length})\n${formatTable(list)}`);
  return lines.join('') + lists.join('');
}

function cells(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return { value: terminalText(String(value)) };
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => ['string', 'number', 'boolean'].includes(typeof member))
      .map(([name, member]) => [
        name,
        terminalText(typeof member === 'number' ? formatNumber(member) : String(member)),
      ]),
  );
}

export function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}
