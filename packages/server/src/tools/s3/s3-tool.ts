// Objects under one prefix of a bucket. What is sent is the prefix, which the host has, with a key that was decided on behind it; what comes back is
// bounded, and names nothing outside of the prefix. A call is one request, made once, with keys that the guest never sees.

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { BulkheadError, type S3Operation, type S3Settings, type SessionId } from '@bulkhead/protocol';
import type { Arguments } from '../../authority/arguments.ts';
import type { AwsKeySource, AwsKeys } from '../../authority/credentials/aws-keys.ts';
import type { Resource, ToolDescription } from '../../authority/tool-description.ts';
import type { Clock } from '../../lib/clock.ts';
import { printable } from '../../lib/printable.ts';
import type { Tool, ToolContext, ToolResult } from '../tool.ts';
import { BoundedHandler } from './bounded-handler.ts';
import { s3Error } from './s3-errors.ts';
import {
  describeS3Tool,
  listMaxCount,
  presignSeconds,
  resourceOfS3Call,
  wholeKey,
  writeMaxBytes,
} from './s3-operations.ts';

export interface S3ToolOptions {
  readonly name: string;
  readonly settings: S3Settings;
  readonly keys: AwsKeySource;
  readonly clock: Clock;
}

/** Of an answer that is no object: a page of a listing has 1,000 keys of 1,024 bytes, escaped, at most. */
const answerMaxBytes = 8_388_608;
const headerMaxLength = 256;

interface Call {
  readonly client: S3Client;
  readonly keys: AwsKeys;
  readonly checked: Arguments;
  readonly context: ToolContext;
  readonly deadline: Deadline;
}

/** The call's end from our side: the caller's, or that of its time. */
interface Deadline {
  readonly signal: AbortSignal;
  why(): BulkheadError | undefined;
}

export class S3Tool implements Tool {
  readonly description: ToolDescription;
  readonly #options: S3ToolOptions;
  /** Their connections are kept for the calls that follow. */
  readonly #answers: BoundedHandler;
  readonly #objects: BoundedHandler;

  constructor(options: S3ToolOptions) {
    const { name, settings } = options;
    this.#options = options;
    this.description = describeS3Tool(name, settings);
    this.#answers = new BoundedHandler(answerMaxBytes, settings.timeoutMs);
    this.#objects = new BoundedHandler(Math.max(settings.bytesMax, answerMaxBytes), settings.timeoutMs);
  }

  resourceOf(operation: string, checked: Arguments): Resource {
    return resourceOfS3Call(this.#options.settings, operation, checked);
  }

  async call(operation: string, checked: Arguments, context: ToolContext): Promise<ToolResult> {
    const { settings } = this.#options;
    const known = settings.operations.find((candidate) => candidate === operation);
    if (known === undefined) throw new BulkheadError('not_found', 'There is no such operation.');
    const deadline = startDeadline(context.signal, settings.timeoutMs);
    try {
      const keys = await this.#keysFor(known, checked, context, deadline.signal);
      const client = this.#client(known, keys);
      deadline.signal.throwIfAborted();
      return await this.#operations[known]({ client, keys, checked, context, deadline });
    } catch (error) {
      throw s3Error(error, deadline.why());
    }
  }

  readonly #operations: Readonly<Record<S3Operation, (call: Call) => Promise<ToolResult>>> = {
    get: (call) => this.#get(call),
    head: (call) => this.#head(call),
    list: (call) => this.#list(call),
    put: (call) => this.#put(call),
    delete: (call) => this.#delete(call),
    presign: (call) => this.#presign(call),
  };

  async #keysFor(
    operation: S3Operation,
    { value }: Arguments,
    { tenant, session, subject, granted = [operation] }: ToolContext,
    signal: AbortSignal,
  ): Promise<AwsKeys> {
    const { settings, keys } = this.#options;
    const seconds = operation === 'presign' ? presignSeconds(value, settings) : 0;
    const validForMs = Math.max(settings.timeoutMs, seconds * 1000);
    return await keys.keysFor({ tenant, session, subject, granted }, validForMs, signal);
  }

  #client(operation: S3Operation, { accessKeyId, secretAccessKey, sessionToken }: AwsKeys): S3Client {
    const { region, endpoint, pathStyle } = this.#options.settings;
    return new S3Client({
      region,
      forcePathStyle: pathStyle,
      ...(endpoint === undefined ? {} : { endpoint }),
      credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
      // What was decided once is done once.
      maxAttempts: 1,
      requestHandler: operation === 'get' ? this.#objects : this.#answers,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  #object({ value }: Arguments): { readonly Bucket: string; readonly Key: string } {
    const { settings } = this.#options;
    return { Bucket: settings.bucket, Key: wholeKey(settings, value['key']) };
  }

  async #get({ client, checked, deadline }: Call): Promise<ToolResult> {
    const { bytesMax } = this.#options.settings;
    const answer = await client.send(new GetObjectCommand(this.#object(checked)), { abortSignal: deadline.signal });
    const { Body: body, ContentLength: sizeBytes, ContentType: contentType } = answer;
    if (!(body instanceof Readable)) throw new BulkheadError('tool_failed', 'The object store answers with no object.');
    if (sizeBytes === undefined || sizeBytes > bytesMax) {
      body.destroy();
      if (sizeBytes === undefined) throw new BulkheadError('tool_failed', 'The object store does not say a size.');
      throw new BulkheadError('limit_exceeded', `The object has more than ${bytesMax} bytes.`, {
        details: { limit: 'bytesMax', maximum: bytesMax },
      });
    }
    return { kind: 'bytes', bytes: readObject(body, deadline), sizeBytes, contentType: mediaType(contentType) };
  }

  async #head({ client, checked, deadline }: Call): Promise<ToolResult> {
    const answer = await client.send(new HeadObjectCommand(this.#object(checked)), { abortSignal: deadline.signal });
    const { ContentLength: size = null, ContentType: contentType, ETag: etag, LastModified: modifiedAt } = answer;
    return {
      kind: 'value',
      value: { size, contentType: mediaType(contentType), etag: header(etag), modifiedAt: instant(modifiedAt) },
    };
  }

  async #list({ client, checked, deadline }: Call): Promise<ToolResult> {
    const { settings } = this.#options;
    const { prefix, after, limit = listMaxCount } = checked.value;
    const own = `${settings.prefix}/`;
    const command = new ListObjectsV2Command({
      Bucket: settings.bucket,
      Prefix: `${wholeKey(settings, prefix)}/`,
      MaxKeys: Number(limit),
      ...(typeof after === 'string' && after !== '' ? { StartAfter: own + after } : {}),
    });
    const { Contents: found = [], IsTruncated: more = false } = await client.send(command, {
      abortSignal: deadline.signal,
    });
    const objects = found
      .slice(0, Number(limit))
      .map(({ Key: key = '', Size: size, ETag: etag, LastModified: modifiedAt }) => {
        // What is not the tenant's is not told, whoever lists it.
        if (!key.startsWith(own))
          throw new BulkheadError('tool_failed', 'The object store lists what was not asked for.');
        return { key: key.slice(own.length), size: size ?? null, etag: header(etag), modifiedAt: instant(modifiedAt) };
      });
    const cursor = more ? (objects.at(-1)?.key ?? null) : null;
    // An object that is named as the folder itself stands for it, in some stores.
    return { kind: 'value', value: { objects: objects.filter(({ key }) => key !== ''), cursor } };
  }

  async #put({ client, checked, context, deadline }: Call): Promise<ToolResult> {
    const body = contentOf(checked, context);
    const maximum = writeMaxBytes(this.#options.settings);
    if (body.length > maximum) {
      throw new BulkheadError('limit_exceeded', `The object has more than ${maximum} bytes.`, {
        details: { limit: 'bytesMax', maximum },
      });
    }
    const { content_type: contentType, if_absent: ifAbsent } = checked.value;
    const command = new PutObjectCommand({
      ...this.#object(checked),
      Body: body,
      ContentLength: body.length,
      // The store refuses what is not these bytes.
      ChecksumSHA256: createHash('sha256').update(body).digest('base64'),
      ...(typeof contentType === 'string' ? { ContentType: contentType } : {}),
      ...(ifAbsent === true ? { IfNoneMatch: '*' } : {}),
    });
    const { ETag: etag } = await client.send(command, { abortSignal: deadline.signal });
    return { kind: 'value', value: { size: body.length, etag: header(etag) } };
  }

  async #delete({ client, checked, deadline }: Call): Promise<ToolResult> {
    await client.send(new DeleteObjectCommand(this.#object(checked)), { abortSignal: deadline.signal });
    return { kind: 'value', value: null };
  }

  async #presign({ client, keys, checked }: Call): Promise<ToolResult> {
    const { settings, clock } = this.#options;
    const nowMs = clock.unixMs();
    const wanted = presignSeconds(checked.value, settings);
    // An address is good for no longer than the keys that it was signed with.
    const left = Math.floor(((keys.expiresAtUnixMs ?? Infinity) - nowMs) / 1000);
    const expiresIn = Math.max(1, Math.min(wanted, left));
    const url = await getSignedUrl(client, new GetObjectCommand(this.#object(checked)), { expiresIn });
    return { kind: 'value', value: { url, expiresAt: new Date(nowMs + expiresIn * 1000).toISOString() } };
  }

  forget(session: SessionId): void {
    this.#options.keys.forget(session);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#answers.destroy();
    this.#objects.destroy();
    return Promise.resolve();
  }
}

/** Exactly the bytes that were decided on. */
function contentOf({ value }: Arguments, { files }: ToolContext): Uint8Array {
  const { text, base64, file } = value;
  if (typeof text === 'string') return Buffer.from(text, 'utf8');
  if (typeof base64 === 'string') return Buffer.from(base64, 'base64');
  const bytes = files?.get('file');
  const sha256: unknown = Reflect.get(Object(file), 'sha256');
  if (bytes !== undefined && createHash('sha256').update(bytes).digest('hex') === sha256) return bytes;
  throw new BulkheadError('invalid_request', 'The file cannot be read from here.', { details: { field: 'file' } });
}

/** The object's bytes, until the end of the call's time, when the store's end is closed, also when nobody reads. */
function readObject(body: Readable, deadline: Deadline): AsyncIterable<Uint8Array> {
  const { signal } = deadline;
  const stop = (): void => void body.destroy(deadline.why());
  body.on('error', () => undefined);
  body.once('close', () => signal.removeEventListener('abort', stop));
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return (async function* (): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array>) yield chunk;
    } catch (error) {
      throw s3Error(error, deadline.why());
    }
  })();
}

function startDeadline(caller: AbortSignal, timeoutMs: number): Deadline {
  const time = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([caller, time]);
  return {
    signal,
    why() {
      if (caller.aborted) return new BulkheadError('cancelled', 'The call was cancelled.');
      if (!time.aborted) return undefined;
      return new BulkheadError('tool_timeout', `The object store took longer than ${timeoutMs} ms.`, {
        details: { timeoutMs },
      });
    },
  };
}

function header(text: string | undefined): string | null {
  return text === undefined ? null : printable(text, headerMaxLength);
}

function instant(at: Date | undefined): string | null {
  return at === undefined || Number.isNaN(at.getTime()) ? null : at.toISOString();
}

function mediaType(text = ''): string {
  return /^[\w.+-]+\/[\w.+-]+(?:; ?[\w-]+=[\w.+-]+)*$/.test(text.slice(0, headerMaxLength)) &&
    text.length <= headerMaxLength
    ? text
    : 'application/octet-stream';
}
