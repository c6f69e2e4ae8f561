// A finished turn as the content of an answer: our own line first, then what the program made, each part marked as that; images as images.

import type { MimeBundle, TurnResult } from '@bulkhead/protocol';
import { contextFates, idSchema } from '@bulkhead/protocol';
import { z } from 'zod';
import { printable } from '../../lib/printable.ts';
import { type ImageContent, imageContent, imageMimeTypes } from './image-content.ts';
import { mcpLimits } from './mcp-limits.ts';
import { makeMark, programText, shorten, withoutControls } from './program-text.ts';
import { parseTable, tableMarkdown, tableMimeType, tableSchema } from './table-text.ts';
import { errorOutput } from './tool-error.ts';

export type Content = { readonly type: 'text'; readonly text: string } | ImageContent;

const resultOutput = z.object({
  kind: z.enum(['text', 'image', 'table', 'none']).describe('`none`: it is not in this answer; `note` says why.'),
  mimeType: z.string(),
  text: z.string().optional(),
  table: tableSchema.optional(),
  note: z.string().optional(),
});
type Result = z.infer<typeof resultOutput>;

export const turnOutput = z.object({
  session: idSchema('session'),
  turn: idSchema('turn'),
  status: z.enum(['ok', 'error']),
  stdout: z.string(),
  stderr: z.string(),
  results: z.array(resultOutput),
  error: errorOutput.nullable(),
  exception: z.object({ name: z.string(), value: z.string(), traceback: z.string() }).nullable(),
  context: z
    .enum(contextFates)
    .describe('`kept`: variables live on. `lost`: variables are gone, files are not. `gone`: the session has ended.'),
  leftOut: z
    .object({ stdoutBytes: z.number(), stderrBytes: z.number(), resultBytes: z.number(), results: z.int() })
    .describe('What the program made and this answer does not have.'),
  turnMs: z.number(),
});
export type TurnOutput = z.infer<typeof turnOutput>;

export interface TurnAnswer {
  readonly content: readonly Content[];
  readonly output: TurnOutput;
}

/** `note`: what else has to be told, about the session say. */
export function turnAnswer(result: TurnResult, note?: string): TurnAnswer {
  const stdout = shorten(result.stdout, mcpLimits.stdoutMaxLength);
  const stderr = shorten(result.stderr, mcpLimits.stderrMaxLength, 0.3);
  const { shown, images, leftOut } = chooseResults(result.results);
  const { exception } = result;
  const traceback = shorten(exception?.traceback ?? '', mcpLimits.tracebackMaxLength, 0.2).text;
  const output: TurnOutput = {
    session: result.sessionId,
    turn: result.turnId,
    status: result.status,
    stdout: withoutControls(stdout.text),
    stderr: withoutControls(stderr.text),
    results: [...shown],
    error: result.error === null ? null : errorOutput.parse(result.error),
    exception:
      exception === null
        ? null
        : {
            name: printable(exception.name, mcpLimits.cellMaxLength),
            value: shorten(exception.value, mcpLimits.messageMaxLength).text,
            traceback: withoutControls(traceback),
          },
    context: result.context,
    leftOut: {
      stdoutBytes: stdout.leftOutBytes + result.truncated.stdoutBytes,
      stderrBytes: stderr.leftOutBytes + result.truncated.stderrBytes,
      resultBytes: leftOut.bytes + result.truncated.resultBytes,
      results: leftOut.results,
    },
    turnMs: Math.round(result.timings.turnMs),
  };
  const mark = makeMark();
  const parts: readonly (readonly [what: string, text: string])[] = [
    ['stdout', stdout.text],
    ['stderr', stderr.text],
    ...shown.map((each) => [resultName(each), resultText(each)] as const),
    ['traceback', traceback],
  ];
  const texts = parts.filter(([, text]) => text !== '').map(([what, text]) => programText(what, text, mark));
  const content: Content[] = [summary(output, note), ...texts].map((text) => ({ type: 'text', text }));
  return { content: [...content, ...images], output };
}

function resultName({ kind, mimeType }: Result): string {
  return kind === 'table' ? 'table' : `result as ${mimeType}`;
}

/** Images speak for themselves; what is not shown is told in the summary. */
function resultText({ kind, text, table }: Result): string {
  if (kind === 'table' && table !== undefined) return tableMarkdown(table);
  return kind === 'text' ? (text ?? '') : '';
}

const fateWords: Readonly<Record<TurnOutput['context'], string>> = {
  kept: 'Variables and files are kept for the next call.',
  lost: 'The interpreter ended: variables are gone, files are kept.',
  gone: 'The session has ended: nothing is kept.',
};

function summary({ session, status, error, context, results, leftOut, turnMs }: TurnOutput, note?: string): string {
  const outcome =
    error === null
      ? status
      : `error ${error.code}: ${error.message}${error.hint === undefined ? '' : ` ${error.hint}`}`;
  const missing = [
    ...(leftOut.stdoutBytes > 0 ? [`${leftOut.stdoutBytes} bytes of stdout`] : []),
    ...(leftOut.stderrBytes > 0 ? [`${leftOut.stderrBytes} bytes of stderr`] : []),
    ...(leftOut.resultBytes > 0 ? [`${leftOut.resultBytes} bytes of results`] : []),
    ...(leftOut.results > 0 ? [`${leftOut.results} results`] : []),
  ];
  const lines = [
    `${outcome} (${turnMs} ms, session ${session}).`,
    ...(error?.hint === undefined ? [fateWords[context]] : []),
    ...(note === undefined ? [] : [note]),
    ...results.flatMap(({ note: why }) => (why === undefined ? [] : [why])),
    ...(missing.length === 0
      ? []
      : [
          `Left out of this answer: ${missing.join(', ')}. Have the program write long output to a file and read parts of it with read_file.`,
        ]),
  ];
  return lines.join('\n');
}

interface Chosen {
  readonly shown: readonly Result[];
  readonly images: readonly ImageContent[];
  readonly leftOut: { readonly bytes: number; readonly results: number };
}

/** One representation of each result, the one that says most to a model, as long as there is room. */
function chooseResults(bundles: readonly MimeBundle[]): Chosen {
  const shown: Result[] = [];
  const images: ImageContent[] = [];
  const room: { text: number; images: number } = {
    text: mcpLimits.resultsMaxLength,
    images: mcpLimits.imagesMaxLength,
  };
  let leftOutBytes = 0;
  for (const bundle of bundles.slice(0, mcpLimits.resultsMaxCount)) {
    const table = tableOf(bundle);
    if (table !== undefined && table.text.length <= room.text) {
      room.text -= table.text.length;
      shown.push(table.result);
      continue;
    }
    const image = imageOf(bundle);
    if (image !== undefined) {
      if ('refused' in image) shown.push(notShown(image.mimeType, `An image is not shown: ${image.refused}.`));
      else if (images.length === mcpLimits.imagesMaxCount || image.data.length > room.images) {
        shown.push(
          notShown(
            image.mimeType,
            'An image is not shown: there are too many in one answer. Save it to a file and read that.',
          ),
        );
      } else {
        room.images -= image.data.length;
        images.push(image);
        shown.push({ kind: 'image', mimeType: image.mimeType });
      }
      continue;
    }
    const text = textOf(bundle);
    const short = shorten(text.text, Math.min(mcpLimits.resultMaxLength, room.text));
    leftOutBytes += short.leftOutBytes;
    room.text = Math.max(0, room.text - short.text.length);
    shown.push({ kind: 'text', mimeType: text.mimeType, text: withoutControls(short.text) });
  }
  return {
    shown,
    images,
    leftOut: { bytes: leftOutBytes, results: Math.max(0, bundles.length - mcpLimits.resultsMaxCount) },
  };
}

function notShown(mimeType: string, note: string): Result {
  return { kind: 'none', mimeType, note };
}

function tableOf(bundle: MimeBundle): { readonly result: Result; readonly text: string } | undefined {
  const table = parseTable(bundle[tableMimeType]);
  return table === undefined
    ? undefined
    : { result: { kind: 'table', mimeType: tableMimeType, table }, text: tableMarkdown(table) };
}

function imageOf(
  bundle: MimeBundle,
): ImageContent | { readonly refused: string; readonly mimeType: string } | undefined {
  const mimeType = imageMimeTypes.find((type) => bundle[type] !== undefined);
  if (mimeType === undefined) return undefined;
  const image = imageContent(mimeType, bundle[mimeType]);
  return 'refused' in image ? { ...image, mimeType } : image;
}

const textTypes = ['text/markdown', 'text/plain', 'application/json', 'text/latex', 'image/svg+xml', 'text/html'];

function textOf(bundle: MimeBundle): { readonly mimeType: string; readonly text: string } {
  const mimeType = textTypes.find((type) => bundle[type] !== undefined) ?? Object.keys(bundle)[0] ?? 'text/plain';
  const value = bundle[mimeType];
  return {
    mimeType: printable(mimeType, 127),
    text: typeof value === 'string' ? value : JSON.stringify(value ?? null),
  };
}
