// A turn: code goes in, events and an outcome come back.

import { BulkheadError } from '@bulkhead/protocol';
import { lanes } from './frame.ts';
import type { GuestEvent, GuestRun, RunOutcome, RunRequest } from './guest.ts';
import type { Inbound } from './inbox.ts';
import { iterate, iterateFailure } from './iterate.ts';
import { parseMessage } from './json.ts';
import { type RunResult, runMessageSchema, runResultSchema } from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream } from './stream.ts';

function toEvent({ lane, bytes }: Inbound): GuestEvent {
  if (lane !== lanes.events) return { type: lane === lanes.stdout ? 'stdout' : 'stderr', bytes };
  const message = parseMessage(bytes, runMessageSchema, 'message of a run');
  if (message.type !== 'exception') return { type: message.type, data: message.data, sizeBytes: bytes.length };
  const { type, ...exception } = message;
  return { type, exception };
}

async function toOutcome(stream: ChannelStream<RunResult>): Promise<RunOutcome> {
  const { elapsedNs, ...result } = await stream.outcome;
  return { ...result, elapsedMs: elapsedNs };
}

/** Starts a turn. What keeps it from starting comes as the rejection of `outcome`, and from `events` too. */
export function startRun(mux: Mux, request: RunRequest): GuestRun {
  let stream: ChannelStream<RunResult>;
  try {
    const { language, context, maxOutputBytes, maxEventBytes } = request;
    stream = mux.open({
      op: 'run',
      parameters: { language, context, maxOutputBytes, maxEventBytes },
      result: runResultSchema,
      lanes: [lanes.stdout, lanes.stderr, lanes.events],
      outputMaxBytes: maxOutputBytes,
      eventsMaxBytes: maxEventBytes,
    });
  } catch (error) {
    if (!BulkheadError.is(error)) throw error;
    return failedRun(error);
  }
  // Resolves to false when the stream stops first; the outcome says why.
  void stream.write(request.code, true);
  const outcome = toOutcome(stream);
  outcome.catch(() => {});
  return {
    events: iterate(stream, toEvent),
    outcome,
    interrupt: () => stream.signal('interrupt'),
    kill: () => stream.signal('kill'),
  };
}

function failedRun(failure: BulkheadError): GuestRun {
  const outcome = Promise.reject<RunOutcome>(failure);
  outcome.catch(() => {});
  return { events: iterateFailure(failure), outcome, interrupt: () => {}, kill: () => {} };
}
