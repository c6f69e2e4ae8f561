// The files of a session. A path is absolute, or relative to /home/user.

import { BulkheadError, type RouteAnswer, type Routes, type SessionId } from '@bulkhead/protocol';
import { type Content, toUpload } from './content.ts';
import type { CallOptions } from './options.ts';
import { misunderstood, networkFailure } from './problem.ts';
import type { Transport } from './transport.ts';

export type FileList = RouteAnswer<Routes['listFiles']>;
export type FileStat = RouteAnswer<Routes['statFile']>;
export type FileWritten = RouteAnswer<Routes['writeFile']>;

export interface WriteFileOptions extends CallOptions {
  /** The length of a stream; without it a stream is gathered in memory first. Nothing else needs it. */
  readonly sizeBytes?: number;
}

export class Files {
  readonly #transport: Transport;
  readonly #session: SessionId;

  constructor(transport: Transport, session: SessionId) {
    this.#transport = transport;
    this.#session = session;
  }

  /** All of a file. */
  async read(path: string, options: CallOptions = {}): Promise<Uint8Array> {
    const params = { session: this.#session };
    return await this.#transport.call('readFile', { params, query: { path } }, options);
  }

  /** All of a file that is UTF-8. Errors: `file_error` when it is not. */
  async readText(path: string, options: CallOptions = {}): Promise<string> {
    const bytes = await this.read(path, options);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new BulkheadError('file_error', `${path} is not text in UTF-8.`, { hint: 'Use `read` for bytes.', cause });
    }
  }

  /** A file as it comes; the reader's pace is the server's. */
  async stream(path: string, options: CallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.#transport
      .open(
        'readFile',
        { params: { session: this.#session }, query: { path } },
        { ...options, accept: 'application/octet-stream' },
      )
      .then((response) => {
        if (response.body === null) throw misunderstood('readFile', response);
        return { body: response.body };
      });
    const reader = body.getReader();
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const { done, value } = await reader.read();
            if (done) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            // A stream that was cut is no whole file.
            controller.error(networkFailure(error, options.signal).error);
          }
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }

  /** Writes a file: all of it, or nothing. A stream is sent once, anything else again when the network failed. */
  async write(path: string, content: Content, options: WriteFileOptions = {}): Promise<FileWritten> {
    const { sizeBytes, ...call } = options;
    const upload = await toUpload(content, sizeBytes);
    return await this.#transport.call(
      'writeFile',
      { params: { session: this.#session }, query: { path } },
      { ...call, upload },
    );
  }

  /** The entries of a directory; the session's home unless said. */
  async list(path: string = '/home/user', options: CallOptions = {}): Promise<FileList> {
    return await this.#transport.call('listFiles', { params: { session: this.#session }, query: { path } }, options);
  }

  /** What lies at a path; a link is not followed. */
  async stat(path: string, options: CallOptions = {}): Promise<FileStat> {
    return await this.#transport.call('statFile', { params: { session: this.#session }, query: { path } }, options);
  }

  async move(from: string, to: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call('moveFile', { params: { session: this.#session }, body: { from, to } }, options);
  }

  /** A directory, and those above it. */
  async makeDirectory(path: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call('makeDirectory', { params: { session: this.#session }, body: { path } }, options);
  }

  /** A file, or with `recursive` a directory and all in it. */
  async remove(path: string, options: CallOptions & { readonly recursive?: boolean } = {}): Promise<void> {
    const { recursive = false, ...call } = options;
    const query = { path, recursive };
    await this.#transport.call('removeFile', { params: { session: this.#session }, query }, call);
  }
}
