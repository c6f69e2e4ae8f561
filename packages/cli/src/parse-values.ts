// Values on a command line, parsed to exact types.

import {
  BulkheadError,
  type Id,
  type IdKind,
  type Language,
  type RuntimeName,
  type SessionId,
  type SizeName,
  type Tier,
  defaultSize,
  languages,
  parseId,
  sizeNames,
  tiers,
} from '@bulkhead/protocol';
import type { CommandInput } from './command.ts';
import { nearest } from './nearest.ts';

const listedBy: Partial<Record<IdKind, string>> = {
  session: 'bulkhead session list',
  tenant: 'bulkhead tenant list',
  key: 'bulkhead key list',
  decision: 'bulkhead decision list',
  approval: 'bulkhead approval list',
};

/** Errors: `invalid_request`. */
export function parseIdOf<Kind extends IdKind>(kind: Kind, text: string | undefined): Id<Kind> {
  const id = text === undefined ? undefined : parseId(kind, text);
  if (id !== undefined) return id;
  throw new BulkheadError(
    'invalid_request',
    text === undefined ? `Which ${kind}?` : `This is not the id of a ${kind}.`,
    {
      hint: `\`${listedBy[kind] ?? 'bulkhead help'}\` shows them.`,
      details: { field: kind },
    },
  );
}

/** Errors: `invalid_request`. */
export function parseSessionId(text: string | undefined): SessionId {
  return parseIdOf('session', text);
}

/** Errors: `invalid_request` with a suggestion. */
export function parseSize(text: string = defaultSize): SizeName {
  return parseOneOf('size', text, sizeNames);
}

/** Errors: `invalid_request` with a suggestion. */
export function parseLanguage(text: string = 'python'): Language {
  const short: Readonly<Record<string, Language>> = { py: 'python', js: 'javascript', node: 'javascript', sh: 'bash' };
  const found = languages.find((name) => name === text) ?? short[text];
  if (found === undefined) throw unknownValue('language', text, languages);
  return found;
}

function unknownValue(kind: string, text: string, known: readonly string[]): BulkheadError {
  const suggestion = nearest(text, known);
  const hint = suggestion === undefined ? '' : `Did you mean ${suggestion}? `;
  return new BulkheadError('invalid_request', `There is no ${kind} ${JSON.stringify(text)}.`, {
    hint: `${hint}There is: ${known.join(', ')}.`,
    details: { field: kind, expected: known },
  });
}

/** Errors: `invalid_request` with a suggestion. */
export function parseOneOf<Value extends string>(kind: string, text: string, known: readonly Value[]): Value {
  const found = known.find((value) => value === text);
  if (found === undefined) throw unknownValue(kind, text, known);
  return found;
}

/** Null for `none`. Errors: `invalid_request`. */
export function parseTier(text: string): Tier | null {
  const tier = parseOneOf('tier', text, tiers);
  return tier === 'none' ? null : tier;
}

/** Errors: `invalid_request`. */
export function parseCount(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new BulkheadError('invalid_request', `--${option} takes a whole number, not ${JSON.stringify(text)}.`, {
    details: { field: option },
  });
}

const expiryUnitsMs: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** `90d`, `12h`, or a moment: the moment, in UTC. Errors: `invalid_request`. */
export function parseExpiry(text: string, nowUnixMs: number): string {
  const match = /^(\d{1,4})([hdw])$/.exec(text);
  const at = match === null ? parseMoment(text) : nowUnixMs + Number(match[1]) * (expiryUnitsMs[match[2] ?? ''] ?? 0);
  if (at > nowUnixMs) return new Date(at).toISOString();
  throw new BulkheadError('invalid_request', `--expires ${JSON.stringify(text)} is no time to come.`, {
    hint: 'Write it like 90d, 12h, 4w or 2027-01-31.',
    details: { field: 'expires' },
  });
}

/** `7d`, `12h`, `30m` ago, or a moment: the moment, in UTC. Errors: `invalid_request`. */
export function parseSince(text: string, nowUnixMs: number): string {
  const match = /^(\d{1,6})([mhdw])$/.exec(text);
  const units: Readonly<Record<string, number>> = { m: 60_000, ...expiryUnitsMs };
  const at = match === null ? parseMoment(text) : nowUnixMs - Number(match[1]) * (units[match[2] ?? ''] ?? 0);
  if (at >= 0 && at <= nowUnixMs) return new Date(at).toISOString();
  throw new BulkheadError('invalid_request', `--since ${JSON.stringify(text)} is no time that has been.`, {
    hint: 'Write it like 7d, 12h, 30m or 2026-11-28.',
    details: { field: 'since' },
  });
}

function parseMoment(text: string): number {
  return /^\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** What may be asked for by name. */
const runtimes = ['qemu', 'gvisor'] as const satisfies readonly RuntimeName[];

/** Errors: `invalid_request` with a suggestion. */
export function parseRuntime(text: string | undefined): 'auto' | RuntimeName | undefined {
  if (text === undefined) return undefined;
  const found = (['auto', ...runtimes] as const).find((name) => name === text);
  if (found === undefined) throw unknownValue('runtime', text, ['auto', ...runtimes]);
  return found;
}

/** Of a session: what it asks for by name, and the least that it is isolated by. Errors: `invalid_request` with a suggestion. */
export function parsePlacement(input: CommandInput): { readonly runtime?: RuntimeName; readonly minimumTier?: Tier } {
  const asked = parseRuntime(input.text('runtime'));
  const text = input.text('minimum-tier');
  const minimumTier = tiers.find((name) => name === text);
  if (text !== undefined && minimumTier === undefined) throw unknownValue('tier', text, tiers);
  return {
    ...(asked === undefined || asked === 'auto' ? {} : { runtime: asked }),
    ...(minimumTier === undefined ? {} : { minimumTier }),
  };
}
