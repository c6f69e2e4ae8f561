// A guest without a machine: the same interface, in this process, on an injected clock. It keeps variables per context and
// files in memory, does what `fake-script.ts` says, and can be ended from outside like a channel that breaks.

import { BulkheadError, type Language } from '@bulkhead/protocol';
import type { Clock } from '../../lib/clock.ts';
import type {
  BackgroundProcess,
  CallOptions,
  ChannelEnd,
  Confirmation,
  ContextInfo,
  ExecRequest,
  FileEntry,
  FileStat,
  Guest,
  GuestConnection,
  GuestExec,
  GuestRun,
  Identity,
  RunRequest,
} from '../../guest/guest.ts';
import { channelError } from './fake-channel.ts';
import type { CallAnswer, GuestCall, GuestCalls } from '../../guest/guest-calls.ts';
import { FakeConnections } from './fake-connections.ts';
import { FakeProcesses, runFakeProgram } from './fake-processes.ts';
import { FakeRun } from './fake-run.ts';
import type { FakeValue } from './fake-script.ts';
import { FakeTerminal } from './fake-terminal.ts';

export interface FakeContext {
  readonly language: Language;
  readonly name: string;
  readonly variables: Map<string, FakeValue>;
  busy: boolean;
}

const home = '/home/user/';

export class FakeGuest implements Guest {
  readonly ended: Promise<ChannelEnd>;
  readonly clock: Clock;
  readonly bootId: string;
  readonly contexts: Map<string, FakeContext> = new Map();
  readonly files: Map<string, Uint8Array> = new Map();
  readonly connections: FakeConnections = new FakeConnections();
  /** What guest code would do: a call of a tool, with the text of its arguments; undefined while nobody answers. */
  call: ((tool: string, operation: string, given: string, signal?: AbortSignal) => Promise<CallAnswer>) | undefined;
  catalogue: unknown;
  /** What guest code does when it connects to its proxy; there when the session was granted a way out. */
  egress: ((connection: GuestConnection) => void) | undefined;
  /** Terminals that were opened and have not ended. */
  readonly terminals: Set<FakeTerminal> = new Set();
  readonly #processes = new FakeProcesses();
  readonly #end = Promise.withResolvers<ChannelEnd>();
  #endedAs: ChannelEnd | undefined;

  constructor(clock: Clock, bootId: string) {
    this.clock = clock;
    this.bootId = bootId;
    this.ended = this.#end.promise;
  }

  get activeAtUnixMs(): number {
    return this.terminals.size > 0 ? this.clock.unixMs() : 0;
  }

  /** Begins with what another has. */
  copy(from: FakeGuest): void {
    for (const [key, context] of from.contexts) {
      this.contexts.set(key, { ...context, variables: new Map(context.variables) });
    }
    for (const [path, bytes] of from.files) this.files.set(path, bytes);
    this.#processes.copy(from.#processes);
  }

  get endedAs(): ChannelEnd | undefined {
    return this.#endedAs;
  }

  end(reason: ChannelEnd['reason'], detail: string): void {
    if (this.#endedAs !== undefined) return;
    this.#endedAs = { reason, detail };
    this.#end.resolve(this.#endedAs);
    this.connections.end(channelError(this.#endedAs));
    for (const terminal of this.terminals) terminal.fail(channelError(this.#endedAs));
  }

  /** Throws what every call on an ended channel throws. */
  check(): void {
    if (this.#endedAs !== undefined) throw channelError(this.#endedAs);
  }

  context(language: Language, name: string): FakeContext {
    const key = `${language}/${name}`;
    const existing = this.contexts.get(key);
    if (existing !== undefined) return existing;
    const context: FakeContext = { language, name, variables: new Map(), busy: false };
    this.contexts.set(key, context);
    return context;
  }

  async hello(): Promise<void> {
    this.check();
  }

  async identify(_identity: Identity): Promise<Confirmation> {
    this.check();
    return { bootId: this.bootId, clockSkewMs: 0 };
  }

  async ping(): Promise<void> {
    this.check();
  }

  run(request: RunRequest): GuestRun {
    return new FakeRun(this, request);
  }

  async restartContext(language: Language, context: string): Promise<void> {
    this.check();
    this.contexts.delete(`${language}/${context}`);
  }

  async listContexts(): Promise<readonly ContextInfo[]> {
    this.check();
    return [...this.contexts.values()].map(({ language, name, busy }) => ({
      language,
      context: name,
      alive: true,
      busy,
    }));
  }

  exec(request: ExecRequest): GuestExec {
    if (request.pty !== undefined) return this.#openTerminal(request);
    const { bytes, exitCode } = runFakeProgram(request.argv);
    const failure = this.#endedAs;
    const outcome =
      failure === undefined
        ? Promise.resolve({ exitCode, signal: null, elapsedMs: 0 })
        : Promise.reject(channelError(failure));
    outcome.catch(() => undefined);
    return {
      outcome,
      output: (async function* output() {
        await outcome;
        if (bytes.length > 0) yield { stream: 'stdout' as const, bytes };
      })(),
      interrupt: () => undefined,
      kill: () => undefined,
      resize: () => undefined,
    };
  }

  #openTerminal(request: ExecRequest): FakeTerminal {
    const failure = this.#endedAs;
    const terminal = new FakeTerminal(request, failure === undefined ? undefined : channelError(failure));
    this.terminals.add(terminal);
    const forget = (): boolean => this.terminals.delete(terminal);
    terminal.outcome.then(forget, forget);
    return terminal;
  }

  async connect(port: number): Promise<GuestConnection> {
    this.check();
    return this.connections.connect(port);
  }

  serveCalls(handle: (call: GuestCall) => Promise<CallAnswer>): GuestCalls {
    this.check();
    this.call = (tool, operation, given, signal = new AbortController().signal) =>
      handle({ tool, operation, argumentBytes: Buffer.from(given), signal });
    return { announce: (catalogue) => (this.catalogue = catalogue) };
  }

  serveEgress(take: (connection: GuestConnection) => void): void {
    this.check();
    this.egress = take;
  }

  async startProcess({ argv }: Pick<ExecRequest, 'argv'>): Promise<string> {
    this.check();
    return this.#processes.start(argv);
  }

  async listProcesses(): Promise<readonly BackgroundProcess[]> {
    this.check();
    return this.#processes.list();
  }

  async *processOutput(process: string): AsyncGenerator<Uint8Array, void, void> {
    this.check();
    yield this.#processes.output(process);
  }

  async killProcess(process: string): Promise<void> {
    this.check();
    this.#processes.kill(process);
  }

  async *readFile(path: string): AsyncGenerator<Uint8Array, void, void> {
    this.check();
    const content = this.files.get(absolute(path));
    if (content === undefined) throw notFound(path);
    for (let at = 0; at < content.length; at += 65_536) yield content.subarray(at, at + 65_536);
  }

  async writeFile(
    path: string,
    content: AsyncIterable<Uint8Array>,
    sizeBytes: number,
    options: CallOptions = {},
  ): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) {
      this.check();
      options.signal?.throwIfAborted();
      chunks.push(Uint8Array.from(chunk));
    }
    const bytes = Buffer.concat(chunks);
    if (bytes.length !== sizeBytes) {
      throw new BulkheadError('upload_incomplete', `The upload ended after ${bytes.length} of ${sizeBytes} bytes.`);
    }
    this.files.set(absolute(path), bytes);
  }

  async listFiles(path: string): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }> {
    this.check();
    const prefix = absolute(path).replace(/\/*$/, '/');
    const entries = [...this.files]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, bytes]) => ({ name: name.slice(prefix.length), ...statOf(bytes) }));
    return { entries, truncated: false };
  }

  async stat(path: string): Promise<FileStat> {
    this.check();
    const content = this.files.get(absolute(path));
    if (content === undefined) throw notFound(path);
    return statOf(content);
  }

  async move(from: string, to: string): Promise<void> {
    this.check();
    const content = this.files.get(absolute(from));
    if (content === undefined) throw notFound(from);
    this.files.delete(absolute(from));
    this.files.set(absolute(to), content);
  }

  async remove(path: string): Promise<void> {
    this.check();
    if (!this.files.delete(absolute(path))) throw notFound(path);
  }

  async mkdir(): Promise<void> {
    this.check();
  }

  async info(): Promise<{
    readonly memoryFreeBytes: number;
    readonly scratchFreeBytes: number;
    readonly processes: number;
  }> {
    this.check();
    return { memoryFreeBytes: 0, scratchFreeBytes: 0, processes: this.contexts.size };
  }

  async freeze(): Promise<void> {
    this.check();
    this.call = undefined;
    this.connections.end(new BulkheadError('port_unreachable', 'The session stands still.'));
  }

  async rehearse(): Promise<void> {
    this.check();
  }

  async settle(): Promise<void> {
    this.check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end('closed', 'the host closed the channel');
  }
}

function absolute(path: string): string {
  if (path === '.') return home;
  return path.startsWith('/') ? path : home + path;
}

function statOf(bytes: Uint8Array): FileStat {
  return { kind: 'file', sizeBytes: bytes.length, mode: 0o644, modifiedMs: 0 };
}

function notFound(path: string): BulkheadError {
  return new BulkheadError('file_error', `${JSON.stringify(path)}: there is no such file or directory in the guest.`, {
    details: { reason: 'not_found', path },
  });
}
