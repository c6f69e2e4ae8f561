import type { CheckpointResource, TimeLimits } from '@bulkhead/protocol';
import type { SessionInfo } from '../backend.ts';
import type { CommandContext, CommandInput } from '../command.ts';
import { parseDurationMs } from '../duration.ts';
import { parsePlacement, parseSessionId, parseSize } from '../parse-values.ts';
import { sessionDocument, sessionLine } from '../session-document.ts';
import { type Verb, type VerbCall, runVerb } from '../verbs.ts';

type Act = Verb['act'];

/** A verb that takes a session, and so much more. */
function ofSession(wants: string, takes: Verb['takes'], act: Act): Verb {
  return { takes, wants, check: ([id]) => void parseSessionId(id), act };
}

const oneSession = (act: (call: VerbCall) => Promise<SessionInfo>): Verb =>
  ofSession('the id of a session', [1, 1], async (call) => sessionDocument(await act(call)));

const verbs: Readonly<Record<string, Verb>> = {
  create: { takes: [0, 0], wants: 'nothing more', act: create },
  list: { takes: [0, 0], wants: 'nothing more', act: list },
  show: ofSession('the id of a session', [1, 1], show),
  suspend: oneSession(({ backend, args: [id] }) => backend.suspendSession(parseSessionId(id))),
  resume: oneSession(({ backend, args: [id] }) => backend.resumeSession(parseSessionId(id))),
  fork: ofSession('the id of a session', [1, 1], fork),
  checkpoint: ofSession('the id of a session and, at most, a name', [1, 2], checkpoint),
  restore: ofSession('the id of a session and a name', [2, 2], async ({ backend, args: [id, name = ''] }) =>
    sessionDocument(await backend.restoreCheckpoint(parseSessionId(id), name)),
  ),
  terminate: oneSession(({ backend, args: [id] }) => backend.terminateSession(parseSessionId(id))),
};

export async function session(context: CommandContext, input: CommandInput): Promise<number> {
  const [given, id] = input.positionals;
  if (given === 'attach') return await attach(context, input, id);
  return await runVerb({ name: 'session', verbs, others: ['attach'] }, context, input);
}

async function attach(context: CommandContext, input: CommandInput, text: string | undefined): Promise<number> {
  const id = parseSessionId(text);
  const { runShell } = await import('./shell.ts');
  return await runShell(context, input, { keep: true, launch: (backend, signal) => backend.openSession(id, signal) });
}

async function create({ backend, input, signal }: VerbCall): Promise<unknown> {
  const timeLimits: { -readonly [limit in keyof TimeLimits]?: number } = {};
  for (const [option, limit] of [
    ['idle', 'idleMs'],
    ['sleep', 'sleepMs'],
    ['lifetime', 'lifetimeMs'],
  ] as const) {
    const text = input.text(option);
    if (text !== undefined) timeLimits[limit] = parseDurationMs(text);
  }
  const grant = input.texts('grant');
  const request = { size: parseSize(input.text('size')), ...parsePlacement(input), timeLimits };
  return sessionDocument(await backend.createSession(grant.length === 0 ? request : { ...request, grant }, signal));
}

async function list({ backend, input }: VerbCall): Promise<unknown> {
  return listed(await backend.listSessions({ ended: input.flag('all') }), input);
}

async function show({ backend, args }: VerbCall): Promise<unknown> {
  const id = parseSessionId(args[0]);
  const info = await backend.getSession(id);
  const checkpoints = (await backend.listCheckpoints(id)).map(checkpointDocument);
  return { ...sessionDocument(info), checkpoints };
}

async function fork({ backend, input, args }: VerbCall): Promise<unknown> {
  const count = Number(input.text('n') ?? '1');
  return listed(await backend.forkSession(parseSessionId(args[0]), count), input);
}

async function checkpoint({ backend, input, args: [text, name] }: VerbCall): Promise<unknown> {
  const id = parseSessionId(text);
  if (name === undefined) return (await backend.listCheckpoints(id)).map(checkpointDocument);
  if (input.flag('delete')) {
    await backend.deleteCheckpoint(id, name);
    return { deleted: name };
  }
  return checkpointDocument(await backend.checkpointSession(id, name));
}

function listed(sessions: readonly SessionInfo[], input: CommandInput): readonly unknown[] {
  return sessions.map(input.flag('json') ? sessionDocument : sessionLine);
}

function checkpointDocument({ id, name, bytes, createdAt }: CheckpointResource): unknown {
  return { name, id, bytes, createdAt };
}
