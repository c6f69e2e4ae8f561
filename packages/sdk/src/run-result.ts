// A finished turn with what is usually asked of it.

import {
  BulkheadError,
  type ContextFate,
  type ErrorJson,
  type GuestException,
  type MimeBundle,
  type SessionId,
  type TurnId,
  type TurnResult,
} from '@bulkhead/protocol';

export interface ResultImage {
  readonly mime: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A data frame; at most its first rows. */
export interface ResultTable {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly (readonly unknown[])[];
  readonly totalRows: number;
}

const tableMime = 'application/vnd.bulkhead.table+json';
const binaryImages = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'] as const;
const vectorImage = 'image/svg+xml';

export class RunResult implements TurnResult {
  readonly sessionId: SessionId;
  readonly turnId: TurnId;
  readonly status: 'ok' | 'error';
  readonly stdout: string;
  readonly stderr: string;
  readonly results: readonly MimeBundle[];
  readonly error: ErrorJson | null;
  readonly exception: GuestException | null;
  readonly context: ContextFate;
  readonly truncated: TurnResult['truncated'];
  readonly timings: TurnResult['timings'];

  constructor(result: TurnResult) {
    this.sessionId = result.sessionId;
    this.turnId = result.turnId;
    this.status = result.status;
    this.stdout = result.stdout;
    this.stderr = result.stderr;
    this.results = result.results;
    this.error = result.error;
    this.exception = result.exception;
    this.context = result.context;
    this.truncated = result.truncated;
    this.timings = result.timings;
  }

  /** What a reader of a terminal would have seen: standard output, then each result as text. The guest's words: escape them before showing them as HTML. */
  get text(): string {
    const shown = this.results.map((bundle) => bundle['text/plain'] ?? bundle['text/markdown']);
    return [this.stdout, ...shown].filter((part) => typeof part === 'string' && part !== '').reduce(onNewLine, '');
  }

  /** The figures, one for each result that has one. SVG is markup of the guest's: never put it into a page as it is. */
  get images(): readonly ResultImage[] {
    return this.results.flatMap((bundle) => imageOf(bundle) ?? []);
  }

  /** The data frames. */
  get tables(): readonly ResultTable[] {
    return this.results.map((bundle) => bundle[tableMime]).filter(isTable);
  }

  /** Itself when the code went well. Errors: that of the turn. */
  check(): this {
    if (this.error === null) return this;
    const { code, message, hint, details } = this.error;
    throw new BulkheadError(code, this.exception === null ? message : `${message}\n${this.exception.traceback}`, {
      ...(hint === undefined ? {} : { hint }),
      ...(details === undefined ? {} : { details }),
    });
  }
}

function onNewLine(before: string, part: unknown): string {
  return `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}${String(part)}`;
}

function imageOf(bundle: MimeBundle): ResultImage | undefined {
  for (const mime of binaryImages) {
    const data = bundle[mime];
    const bytes = typeof data === 'string' ? decodeBase64(data) : undefined;
    if (bytes !== undefined) return { mime, bytes };
  }
  const markup = bundle[vectorImage];
  return typeof markup === 'string' ? { mime: vectorImage, bytes: new TextEncoder().encode(markup) } : undefined;
}

/** Undefined for what is none: the guest may have said anything. */
function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (unit) => unit.codePointAt(0) ?? 0);
  } catch {
    return undefined;
  }
}

function isTable(value: unknown): value is ResultTable {
  if (typeof value !== 'object' || value === null) return false;
  const { columns, rows, totalRows } = value as Partial<Record<keyof ResultTable, unknown>>; // oxlint-disable-line typescript/no-unsafe-type-assertion -- each is checked below
  return (
    Array.isArray(columns) &&
    columns.every((column: unknown) => typeof column === 'object' && column !== null && 'name' in column) &&
    Array.isArray(rows) &&
    rows.every((row) => Array.isArray(row)) &&
    typeof totalRows === 'number'
  );
}
