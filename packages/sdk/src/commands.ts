// Programs in a session, beside its turns.

import {
  BulkheadError,
  type CommandEvent,
  type CommandResult,
  type RouteAnswer,
  type RouteBody,
  type Routes,
  type SessionId,
  routes,
} from '@bulkhead/protocol';
import { sentEvents } from './event-source.ts';
import type { CallOptions, CreateOptions } from './options.ts';
import { misunderstood, networkFailure, parseJson } from './problem.ts';
import type { Transport } from './transport.ts';
import { isEventStream } from './turn-stream.ts';

type CommandBody = RouteBody<Routes['runCommand']>;
export type RunCommandOptions = Omit<CommandBody, 'argv' | 'stdin' | 'stdinEncoding'> &
  CreateOptions & {
    /** What it reads; text or bytes. */
    readonly stdin?: string | Uint8Array;
  };
export type StartProcessOptions = Omit<RouteBody<Routes['startProcess']>, 'argv'> & CreateOptions;
export type ProcessState = RouteAnswer<Routes['listProcesses']>['items'][number];

/** The program and its arguments; a string is a line for bash. */
export type CommandLine = string | readonly string[];

export class Commands {
  readonly #transport: Transport;
  readonly #session: SessionId;

  constructor(transport: Transport, session: SessionId) {
    this.#transport = transport;
    this.#session = session;
  }

  /**
   * Runs a program to its end. An exit code that is not 0 is no error. The program outlives a connection that is cut, and a caller that gives up, to the end
   * of its time limit; leaving `stream` ends it, and `start` is for what takes long.
   */
  async run(command: CommandLine, options: RunCommandOptions = {}): Promise<CommandResult> {
    const { body, call } = commandOf(command, options);
    return await this.#transport.call('runCommand', { params: { session: this.#session }, body }, call);
  }

  /** Runs a program and tells what it prints as it prints it; the last event is `end`. Leaving the loop ends the program. */
  async *stream(command: CommandLine, options: RunCommandOptions = {}): AsyncGenerator<CommandEvent, void, void> {
    const { body, call } = commandOf(command, options);
    const { events } = routes.runCommand;
    const response = await this.#transport.open(
      'runCommand',
      { params: { session: this.#session }, body },
      { ...call, accept: 'text/event-stream', ephemeral: true },
    );
    if (response.body === null || !isEventStream(response)) throw misunderstood('runCommand', response);
    try {
      for await (const sent of sentEvents(response.body)) {
        const parsed = sent === undefined ? undefined : events.safeParse(parseJson(sent));
        if (parsed?.success !== true) continue;
        yield parsed.data;
        if (parsed.data.type === 'end') return;
      }
    } catch (error) {
      throw networkFailure(error, call.signal).error;
    }
    throw new BulkheadError('server_unreachable', 'The stream of the command ended before the command did.', {
      hint: 'What it printed meanwhile is lost. `start` runs what has to outlive a connection.',
    });
  }

  /** Starts a program that goes on in the background. */
  async start(command: CommandLine, options: StartProcessOptions = {}): Promise<Process> {
    const { signal, idempotencyKey, ...body } = options;
    const call = { ...(signal && { signal }), ...(idempotencyKey !== undefined && { idempotencyKey }) };
    const { process } = await this.#transport.call(
      'startProcess',
      { params: { session: this.#session }, body: { ...body, argv: argvOf(command) } },
      call,
    );
    return new Process(this.#transport, this.#session, process);
  }

  /** The programs that were started in the background. */
  async processes(options: CallOptions = {}): Promise<readonly ProcessState[]> {
    return (await this.#transport.call('listProcesses', { params: { session: this.#session } }, options)).items;
  }

  /** One that was started before. */
  process(name: string): Process {
    return new Process(this.#transport, this.#session, name);
  }
}

/** A program in the background. */
export class Process {
  readonly name: string;
  readonly #transport: Transport;
  readonly #session: SessionId;

  constructor(transport: Transport, session: SessionId, name: string) {
    this.#transport = transport;
    this.#session = session;
    this.name = name;
  }

  /** What it has printed, as far as it is kept. */
  async output(options: CallOptions = {}): Promise<string> {
    const params = { session: this.#session, process: this.name };
    return new TextDecoder().decode(await this.#transport.call('readProcessOutput', { params }, options));
  }

  /** Errors: `not_found`. */
  async state(options: CallOptions = {}): Promise<ProcessState> {
    const { items } = await this.#transport.call('listProcesses', { params: { session: this.#session } }, options);
    const found = items.find(({ process }) => process === this.name);
    if (found === undefined) throw new BulkheadError('not_found', `There is no process ${this.name}.`);
    return found;
  }

  async kill(options: CallOptions = {}): Promise<void> {
    const params = { session: this.#session, process: this.name };
    await this.#transport.call('killProcess', { params }, options);
  }
}

function argvOf(command: CommandLine): string[] {
  return typeof command === 'string' ? ['bash', '-c', command] : [...command];
}

function commandOf(
  command: CommandLine,
  { signal, idempotencyKey, stdin, ...options }: RunCommandOptions,
): { readonly body: CommandBody; readonly call: CreateOptions } {
  return {
    body: {
      ...options,
      argv: argvOf(command),
      ...(typeof stdin === 'string' ? { stdin } : {}),
      ...(stdin instanceof Uint8Array ? { stdin: encodeBase64(stdin), stdinEncoding: 'base64' } : {}),
    },
    call: {
      ...(signal === undefined ? {} : { signal }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    },
  };
}

function encodeBase64(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCodePoint(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}
