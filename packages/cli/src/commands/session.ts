import { BulkheadError, type SessionId, type TimeLimits } from '@bulkhead/protocol';
import { type KeptSnapshot, localTenant } from '@bulkhead/server';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseDurationMs } from '../duration.ts';
import { type OpenedBulkhead, openLocal, parseSessionId, parseSize } from '../local-session.ts';
import { nearest } from '../nearest.ts';
import { jsonLine } from '../output.ts';
import { sessionDocument, sessionLine, time } from '../session-document.ts';
import { formatRecord, formatTable } from '../table.ts';

interface Call {
  readonly local: OpenedBulkhead;
  readonly input: CommandInput;
  readonly id: SessionId;
  /** What follows the id. */
  readonly name: string | undefined;
  readonly signal: AbortSignal;
}

interface Verb {
  /** Positionals that have to be there, and those that may. */
  readonly takes: readonly [required: number, most: number];
  readonly act: (call: Call) => Promise<unknown>;
}

const verbs: Readonly<Record<string, Verb>> = {
  create: { takes: [0, 0], act: create },
  list: { takes: [0, 0], act: list },
  show: { takes: [1, 1], act: show },
  suspend: {
    takes: [1, 1],
    act: async ({ local, id }) => sessionDocument(await local.bulkhead.sessions.suspendSession(localTenant, id)),
  },
  resume: {
    takes: [1, 1],
    act: async ({ local, id }) =>
      sessionDocument(await local.bulkhead.sessions.resumeSession(localTenant, id, local.options)),
  },
  fork: { takes: [1, 1], act: fork },
  checkpoint: { takes: [1, 2], act: checkpoint },
  restore: {
    takes: [2, 2],
    act: async ({ local, id, name = '' }) =>
      sessionDocument(await local.bulkhead.sessions.restoreCheckpoint(localTenant, id, name)),
  },
  terminate: {
    takes: [1, 1],
    act: async ({ local, id }) => sessionDocument(await local.bulkhead.sessions.terminateSession(localTenant, id)),
  },
};

export async function session(context: CommandContext, input: CommandInput): Promise<number> {
  const [given = '', ...rest] = input.positionals;
  if (given === 'attach') return await attach(context, input, rest);
  const verb = Object.hasOwn(verbs, given) ? verbs[given] : undefined;
  if (verb === undefined) throw unknownVerb(given);
  const [required, most] = verb.takes;
  if (rest.length < required || rest.length > most) {
    throw new BulkheadError('invalid_request', `\`bulkhead session ${given}\` takes ${wants(required, most)}.`, {
      hint: '`bulkhead session --help` shows all of it.',
    });
  }
  const [text, name] = rest;
  // A verb that takes no session does not look at this.
  const id = required === 0 ? parseSessionId(`ses_${'0'.repeat(26)}`) : parseSessionId(text);
  const quiet = input.flag('quiet') || input.flag('json');
  await using local = await openLocal(context, { quiet, keep: true });
  const stop = new AbortController();
  using _interrupts = context.interrupts.during(() => stop.abort());
  const answer = await verb.act({ local, input, id, name, signal: stop.signal });
  if (input.flag('json')) await context.stdout.write(jsonLine(answer));
  else await context.stdout.write(Array.isArray(answer) ? formatTable(answer) : formatRecord(answer));
  return 0;
}

async function attach(context: CommandContext, input: CommandInput, rest: readonly string[]): Promise<number> {
  const id = parseSessionId(rest[0]);
  const { runShell } = await import('./shell.ts');
  return await runShell(context, input, { keep: true, launch: (local, signal) => local.openSession(id, signal) });
}

async function create({ local, input, signal }: Call): Promise<unknown> {
  const timeLimits: { -readonly [limit in keyof TimeLimits]?: number } = {};
  for (const [option, limit] of [
    ['idle', 'idleMs'],
    ['sleep', 'sleepMs'],
    ['lifetime', 'lifetimeMs'],
  ] as const) {
    const text = input.text(option);
    if (text !== undefined) timeLimits[limit] = parseDurationMs(text);
  }
  const { id } = await local.createSession({ size: parseSize(input.text('size')), timeLimits }, signal);
  // It is told as it will be found: asleep.
  return sessionDocument(await local.bulkhead.sessions.suspendSession(localTenant, id));
}

async function list({ local, input }: Call): Promise<unknown> {
  const all = local.bulkhead.sessions.listSessions(localTenant);
  const chosen = input.flag('all') ? all : all.filter(({ endedAtUnixMs }) => endedAtUnixMs === null);
  return chosen.map(input.flag('json') ? sessionDocument : sessionLine);
}

async function show({ local, id }: Call): Promise<unknown> {
  const { sessions } = local.bulkhead;
  const record = sessions.getSession(localTenant, id);
  const checkpoints = (await sessions.listCheckpoints(localTenant, id)).map(checkpointDocument);
  return { ...sessionDocument(record), checkpoints };
}

async function fork({ local, input, id }: Call): Promise<unknown> {
  const count = Number(input.text('n') ?? '1');
  const { sessions } = local.bulkhead;
  const forked = await sessions.forkSession(localTenant, id, count, local.options);
  const kept = await Promise.all(forked.map((child) => sessions.suspendSession(localTenant, child.id)));
  return kept.map(input.flag('json') ? sessionDocument : sessionLine);
}

async function checkpoint({ local, input, id, name }: Call): Promise<unknown> {
  const { sessions } = local.bulkhead;
  if (name === undefined) return (await sessions.listCheckpoints(localTenant, id)).map(checkpointDocument);
  if (input.flag('delete')) {
    await sessions.deleteCheckpoint(localTenant, id, name);
    return { deleted: name };
  }
  await sessions.resumeSession(localTenant, id, local.options);
  return checkpointDocument(await sessions.checkpointSession(localTenant, id, name));
}

function checkpointDocument({ id, name, bytes, createdAtUnixMs }: KeptSnapshot): unknown {
  return { name, id, bytes, createdAt: time(createdAtUnixMs) };
}

function wants(required: number, most: number): string {
  if (most === 0) return 'nothing more';
  if (most === 1) return 'the id of a session';
  return required === 2 ? 'the id of a session and a name' : 'the id of a session and, at most, a name';
}

function unknownVerb(given: string): BulkheadError {
  const known = [...Object.keys(verbs), 'attach'];
  const suggestion = nearest(given, known);
  const message =
    given === '' ? 'What about sessions?' : `\`bulkhead session\` does not take this: ${JSON.stringify(given)}.`;
  return new BulkheadError('invalid_request', message, {
    hint:
      suggestion === undefined
        ? `Say one of: ${known.join(', ')}.`
        : `Did you mean \`bulkhead session ${suggestion}\`?`,
  });
}
