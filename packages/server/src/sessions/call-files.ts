// Files in a guest that are arguments of a call. The host reads each once, before anything is decided, and puts the digest and the size of what it has
// read in the place of the path; what is carried out with are those bytes, whatever the guest does to the file meanwhile.

import { createHash } from 'node:crypto';
import { BulkheadError } from '@bulkhead/protocol';
import { type ArgumentValue, canonicalize, parseArguments } from '../authority/arguments.ts';
import { authorityLimits } from '../authority/authority-limits.ts';
import type { Parameters } from '../authority/parameters.ts';
import type { Guest } from '../guest/guest.ts';

const readTimeoutMs = 60_000;
const pathMaxLength = 4096;

/** What the files of calls under way take of the host's memory. */
export class FileBudget {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number = authorityLimits.hostFilesMaxBytes) {
    this.#maxBytes = maxBytes;
  }

  /** Errors: `limit_exceeded`. */
  take(bytes: number): void {
    if (this.#bytes + bytes > this.#maxBytes) {
      throw new BulkheadError('limit_exceeded', 'Too much is being sent from files at once.', {
        hint: 'Try again when other calls have ended.',
      });
    }
    this.#bytes += bytes;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}

export class CallFiles implements Disposable {
  readonly #guest: Pick<Guest, 'readFile'>;
  readonly #given: Uint8Array;
  readonly #signal: AbortSignal;
  readonly #budgets: readonly FileBudget[];
  readonly #files = new Map<string, Uint8Array>();
  #taken = 0;
  #ended = false;
  #read: Promise<Uint8Array> | undefined;

  /** `budgets`: the session's and the host's. */
  constructor(
    guest: Pick<Guest, 'readFile'>,
    { argumentBytes, signal }: { readonly argumentBytes: Uint8Array; readonly signal: AbortSignal },
    budgets: readonly FileBudget[],
  ) {
    this.#guest = guest;
    this.#given = argumentBytes;
    this.#signal = signal;
    this.#budgets = budgets;
  }

  /** By the names of their arguments. */
  get files(): ReadonlyMap<string, Uint8Array> {
    return this.#files;
  }

  /**
   * The arguments with what was read in the place of paths; read the first time only. Errors: `invalid_request`, `limit_exceeded`, `tool_timeout`,
   * `cancelled`, the guest's own for a file that is not there.
   */
  argumentBytes(parameters: Parameters): Promise<Uint8Array> {
    this.#read ??= this.#replace(parameters);
    return this.#read;
  }

  async #replace(parameters: Parameters): Promise<Uint8Array> {
    const wanted = Object.entries(parameters).filter(([, { kind }]) => kind === 'file');
    if (wanted.length === 0) return this.#given;
    const { value } = parseArguments(this.#given);
    const replaced: Record<string, ArgumentValue> = Object.assign(Object.create(null), value);
    for (const [name, { maxBytes = authorityLimits.fileMaxBytes }] of wanted) {
      const path = value[name];
      if (path === undefined) continue;
      if (typeof path !== 'string' || path === '' || path.length > pathMaxLength || path.includes('\0')) {
        throw new BulkheadError('invalid_request', `The argument "${name}" has to be the path of a file.`, {
          details: { field: name },
        });
      }
      const bytes = await this.#readFile(name, path, maxBytes);
      this.#files.set(name, bytes);
      replaced[name] = { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
    }
    return Buffer.from(canonicalize(replaced).canonical);
  }

  async #readFile(name: string, path: string, maxBytes: number): Promise<Uint8Array> {
    const time = AbortSignal.timeout(readTimeoutMs);
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of this.#guest.readFile(path, { signal: AbortSignal.any([this.#signal, time]) })) {
        size += chunk.length;
        if (size > maxBytes) {
          throw new BulkheadError('limit_exceeded', `A file for "${name}" has at most ${maxBytes} bytes.`, {
            details: { field: name, maximum: maxBytes },
          });
        }
        this.#take(chunk.length);
        chunks.push(chunk);
      }
    } catch (error) {
      if (!time.aborted) throw error;
      throw new BulkheadError('tool_timeout', 'The file could not be read in time.', { cause: error });
    }
    return Buffer.concat(chunks, size);
  }

  #take(bytes: number): void {
    if (this.#ended) throw new BulkheadError('cancelled', 'The call is over.');
    for (const [index, budget] of this.#budgets.entries()) {
      try {
        budget.take(bytes);
      } catch (error) {
        for (const taken of this.#budgets.slice(0, index)) taken.giveBack(bytes);
        throw error;
      }
    }
    this.#taken += bytes;
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    for (const budget of this.#budgets) budget.giveBack(this.#taken);
    this.#taken = 0;
    this.#files.clear();
  }
}
