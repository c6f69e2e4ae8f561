// Commands: in the foreground with their input and output, and in the background.

import { BulkheadError } from '@bulkhead/protocol';
import { lanes } from './frame.ts';
import type { BackgroundProcess, CallOptions, ExecOutcome, ExecRequest, GuestExec } from './guest.ts';
import { sendInput } from './input.ts';
import { iterate, iterateFailure } from './iterate.ts';
import {
  type ExecResult,
  execResultSchema,
  processKillSchema,
  processListSchema,
  processOutputSchema,
  processStartSchema,
} from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream } from './stream.ts';
import { download } from './guest-files.ts';

/** Starts a command. What keeps it from starting comes as the rejection of `outcome`, and from `output` too. */
export function startExec(mux: Mux, request: ExecRequest): GuestExec {
  const { argv, cwd, env, pty, stdin } = request;
  let stream: ChannelStream<ExecResult>;
  try {
    stream = mux.open({
      op: 'exec',
      parameters: { argv, cwd, env, pty },
      result: execResultSchema,
      lanes: pty === undefined ? [lanes.stdout, lanes.stderr] : [lanes.stdout],
    });
  } catch (error) {
    if (!BulkheadError.is(error)) throw error;
    return failedExec(error);
  }
  const input = stdin === undefined ? stream.write(new Uint8Array(), true) : sendInput(stream, stdin);
  const outcome = outcomeOf(stream, input);
  outcome.catch(() => {});
  return {
    output: iterate(stream, ({ lane, bytes }) => ({ stream: lane === lanes.stdout ? 'stdout' : 'stderr', bytes })),
    outcome,
    interrupt: () => stream.signal('interrupt'),
    kill: () => stream.signal('kill'),
    resize: (columns, rows) => stream.signal('resize', { columns, rows }),
  };
}

/** The outcome of a command; a failure of its input kills it and is what the caller hears. */
async function outcomeOf(stream: ChannelStream<ExecResult>, input: Promise<unknown>): Promise<ExecOutcome> {
  const failed = Promise.withResolvers<never>();
  input.catch((error: BulkheadError) => {
    stream.cancel(error);
    failed.reject(error);
  });
  const { elapsedNs, exitCode, signal } = await Promise.race([stream.outcome, failed.promise]);
  return { exitCode, signal, elapsedMs: elapsedNs };
}

function failedExec(failure: BulkheadError): GuestExec {
  const outcome = Promise.reject<ExecOutcome>(failure);
  outcome.catch(() => {});
  return { output: iterateFailure(failure), outcome, interrupt: () => {}, kill: () => {}, resize: () => {} };
}

export async function startProcess(
  mux: Mux,
  request: Omit<ExecRequest, 'stdin' | 'pty'>,
  options?: CallOptions,
): Promise<string> {
  const { argv, cwd, env } = request;
  const spec = { op: 'process.start', parameters: { argv, cwd, env }, result: processStartSchema, lanes: [] };
  return (await mux.call(spec, mux.timeouts.controlTimeoutMs, options)).process;
}

export async function listProcesses(mux: Mux, options?: CallOptions): Promise<readonly BackgroundProcess[]> {
  const spec = { op: 'process.list', parameters: {}, result: processListSchema, lanes: [] };
  return (await mux.call(spec, mux.timeouts.controlTimeoutMs, options)).processes;
}

export async function killProcess(mux: Mux, process: string, options?: CallOptions): Promise<void> {
  const spec = { op: 'process.kill', parameters: { process }, result: processKillSchema, lanes: [] };
  await mux.call(spec, mux.timeouts.controlTimeoutMs, options);
}

export function processOutput(mux: Mux, process: string): AsyncIterable<Uint8Array> {
  return download(mux, {
    op: 'process.output',
    parameters: { process },
    result: processOutputSchema,
    lanes: [lanes.stdout],
  });
}
