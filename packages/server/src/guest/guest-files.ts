// Files in the guest. Paths are the guest's business; the host only bounds them.

import { BulkheadError, limits } from '@bulkhead/protocol';
import type { z } from 'zod';
import { ProtocolViolation, lanes } from './frame.ts';
import type { CallOptions, FileEntry, FileStat } from './guest.ts';
import { cancelledError, throwIfCancelled } from './guest-errors.ts';
import { sendInput } from './input.ts';
import { parseMessage } from './json.ts';
import {
  type FileStatMessage,
  fileEntrySchema,
  fileListSchema,
  fileStatSchema,
  nothingSchema,
  sizeSchema,
} from './messages.ts';
import type { Mux } from './mux.ts';
import type { ChannelStream, StreamSpec } from './stream.ts';

function checkPath(path: string): void {
  if (path === '' || path.includes('\0') || Buffer.byteLength(path) > limits.pathMaxBytes) {
    throw new BulkheadError('invalid_request', `A path has 1 to ${limits.pathMaxBytes} bytes and no NUL`);
  }
}

function spec<Result>(
  op: string,
  path: string,
  result: z.ZodType<Result>,
  parameters: Readonly<Record<string, unknown>> = { path },
): StreamSpec<Result> {
  checkPath(path);
  return { op, path, parameters, result, lanes: [] };
}

function toStat({ kind, size, mode, modifiedNs }: FileStatMessage): FileStat {
  return { kind, mode, sizeBytes: size, modifiedMs: modifiedNs };
}

/** Runs `read` with a deadline that ends the channel when the guest has nothing to say for too long. */
async function readSoon(mux: Mux, stream: ChannelStream<unknown>): ReturnType<ChannelStream<unknown>['read']> {
  const stop = mux.clock.after(mux.timeouts.stallTimeoutMs, () => mux.end('unresponsive', `${stream.spec.op} stalled`));
  try {
    return await stream.read();
  } finally {
    stop();
  }
}

/**
 * The content that an operation sends on lane 1. The operation begins with the first read; leaving early, or the signal,
 * ends it. `check` compares what came with what the guest says of it.
 */
export function download<Result>(
  mux: Mux,
  streamSpec: StreamSpec<Result>,
  options: CallOptions = {},
  check: (result: Result, receivedBytes: number) => void = () => {},
): AsyncIterable<Uint8Array> {
  const { signal } = options;
  return {
    [Symbol.asyncIterator]() {
      let stream: ChannelStream<Result> | undefined;
      let receivedBytes = 0;
      let isDone = false;
      const abort = (): void => stream?.cancel(cancelledError(streamSpec.op, signal));
      const finish = (): void => {
        isDone = true;
        signal?.removeEventListener('abort', abort);
      };
      return {
        async next() {
          if (isDone) return { done: true, value: undefined };
          try {
            throwIfCancelled(streamSpec.op, signal);
            if (stream === undefined) {
              stream = mux.open(streamSpec);
              signal?.addEventListener('abort', abort, { once: true });
            }
            const opened = stream;
            const inbound = await readSoon(mux, opened);
            if (inbound !== undefined) {
              receivedBytes += inbound.bytes.length;
              return { done: false, value: inbound.bytes };
            }
            finish();
            const result = await opened.outcome;
            opened.parse(() => check(result, receivedBytes));
            return { done: true, value: undefined };
          } catch (error) {
            finish();
            throw error;
          }
        },
        async return() {
          finish();
          stream?.cancel();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

export function readFile(mux: Mux, path: string, options?: CallOptions): AsyncIterable<Uint8Array> {
  checkPath(path);
  const read = { ...spec('file.read', path, sizeSchema), lanes: [lanes.stdout], wholeLane: lanes.stdout };
  return download(mux, read, options, ({ size }, receivedBytes) => {
    if (size !== receivedBytes) throw new ProtocolViolation('file.read sent another number of bytes than it says');
  });
}

/** Rejects with `upload_incomplete` when the content ends early or its source fails, `invalid_request` when there is too much. */
export async function writeFile(
  mux: Mux,
  path: string,
  content: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  options: CallOptions = {},
): Promise<void> {
  throwIfCancelled('file.write', options.signal);
  const stream = mux.open(spec('file.write', path, sizeSchema, { path, size: sizeBytes }));
  const sent = sendInput(stream, content, (totalBytes, isEnd) => {
    const details = { declaredBytes: sizeBytes, receivedBytes: totalBytes };
    if (totalBytes > sizeBytes) {
      throw new BulkheadError('invalid_request', 'The upload has more bytes than were declared', { details });
    }
    if (isEnd && totalBytes < sizeBytes) {
      throw new BulkheadError('upload_incomplete', 'The upload ended before its last byte', { details });
    }
  });
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const stopWatch = watchUpload(mux, stream);
  sent.catch((error: BulkheadError) => {
    stream.cancel(error);
    failed.reject(error);
  });
  const { signal } = options;
  const abort = (): void => {
    const error = cancelledError('file.write', signal);
    stream.cancel(error);
    failed.reject(error);
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const { size } = await Promise.race([stream.outcome, failed.promise]);
    stream.parse(() => {
      if (size !== sizeBytes) throw new ProtocolViolation('file.write took another number of bytes than it was sent');
    });
  } finally {
    stopWatch();
    signal?.removeEventListener('abort', abort);
  }
}

/** Ends the channel when an upload waits for the guest and nothing moves. */
function watchUpload(mux: Mux, stream: ChannelStream<unknown>): () => void {
  let sentBefore = -1;
  const arm = (): (() => void) =>
    mux.clock.after(mux.timeouts.stallTimeoutMs, () => {
      if (stream.isStopped) return;
      if (stream.isWaitingForGuest && stream.sentBytes === sentBefore) {
        mux.end('unresponsive', `${stream.spec.op} stalled`);
        return;
      }
      sentBefore = stream.sentBytes;
      stop = arm();
    });
  let stop = arm();
  return () => stop();
}

export async function listFiles(
  mux: Mux,
  path: string,
  options: CallOptions = {},
): Promise<{ readonly entries: readonly FileEntry[]; readonly truncated: boolean }> {
  throwIfCancelled('file.list', options.signal);
  const limit = limits.fileListMaxCount;
  const stream = mux.open({ ...spec('file.list', path, fileListSchema, { path, limit }), lanes: [lanes.events] });
  const outcome = mux.settle(stream, mux.timeouts.controlTimeoutMs, options.signal);
  outcome.catch(() => {});
  const entries: FileEntry[] = [];
  for (let inbound = await stream.read(); inbound !== undefined; inbound = await stream.read()) {
    const { bytes } = inbound;
    const { name, ...rest } = stream.parse(() => {
      if (entries.length >= limit) throw new ProtocolViolation('file.list sent more entries than it was asked for');
      return parseMessage(bytes, fileEntrySchema, 'entry of file.list');
    });
    entries.push({ name, ...toStat(rest) });
  }
  return { entries, truncated: (await outcome).truncated };
}

export async function stat(mux: Mux, path: string, options?: CallOptions): Promise<FileStat> {
  return toStat(await mux.call(spec('file.stat', path, fileStatSchema), mux.timeouts.controlTimeoutMs, options));
}

export async function move(mux: Mux, from: string, to: string, options?: CallOptions): Promise<void> {
  checkPath(to);
  await mux.call(spec('file.move', from, nothingSchema, { from, to }), mux.timeouts.slowTimeoutMs, options);
}

export async function remove(
  mux: Mux,
  path: string,
  options: CallOptions & { readonly recursive?: boolean } = {},
): Promise<void> {
  const { recursive } = options;
  await mux.call(spec('file.remove', path, nothingSchema, { path, recursive }), mux.timeouts.slowTimeoutMs, options);
}

export async function mkdir(mux: Mux, path: string, options?: CallOptions): Promise<void> {
  await mux.call(spec('file.mkdir', path, nothingSchema), mux.timeouts.controlTimeoutMs, options);
}
