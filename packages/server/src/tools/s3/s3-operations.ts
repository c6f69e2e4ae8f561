// What an object store is to policies and to guests, from its settings and a call's arguments alone. Keys are relative to the tenant's prefix, which is
// put before them here and nowhere else.

import { BulkheadError, type S3Operation, type S3Settings } from '@bulkhead/protocol';
import type { ArgumentObject, Arguments } from '../../authority/arguments.ts';
import { authorityLimits } from '../../authority/authority-limits.ts';
import type { Parameter } from '../../authority/parameters.ts';
import type { OperationDescription, Resource, ToolDescription } from '../../authority/tool-description.ts';

export const listMaxCount = 1000;
/** Of the protocol, for prefix and key together. */
const keyMaxBytes = 1024;
const presignDefaultSeconds = 60;

const key: Parameter = { kind: 'path', description: 'which object: names with / between them' };

type Described = Pick<S3Settings, 'description' | 'operations' | 'bytesMax' | 'presignMaxSeconds'>;

/** What it is to policies and to guests. */
export function describeS3Tool(name: string, settings: Described): ToolDescription {
  const operations = settings.operations.map((operation) => [operation, descriptions[operation](settings)] as const);
  return { name, description: settings.description, operations: Object.fromEntries(operations) };
}

/** Of an object that is written: it is in memory while it is on its way. */
export function writeMaxBytes({ bytesMax }: Pick<S3Settings, 'bytesMax'>): number {
  return Math.min(bytesMax, authorityLimits.fileMaxBytes);
}

const descriptions: Readonly<Record<S3Operation, (settings: Described) => OperationDescription>> = {
  get: () => ({ description: 'Reads an object, as a file.', resource: 'Object', parameters: { key } }),
  head: () => ({
    description: 'Says how large an object is, of what type, and since when.',
    resource: 'Object',
    parameters: { key },
  }),
  list: () => ({
    description: 'Lists objects in the order of their keys, those below `prefix` where one is given.',
    resource: 'Prefix',
    parameters: {
      prefix: { kind: 'path', description: 'a folder', optional: true },
      after: { kind: 'text', description: 'the `cursor` of the page before', maxLength: 1024, optional: true },
      limit: { kind: 'integer', description: 'how many at most', minimum: 1, maximum: listMaxCount, optional: true },
    },
  }),
  put: (settings) => ({
    description: 'Writes an object: one of `text`, `base64` and `file`.',
    resource: 'Object',
    parameters: {
      key,
      text: { kind: 'text', description: 'its content', optional: true },
      base64: { kind: 'text', description: 'its content, in Base64', optional: true },
      file: {
        kind: 'file',
        description: 'the path of a file in this machine that is its content',
        maxBytes: writeMaxBytes(settings),
        optional: true,
      },
      content_type: { kind: 'text', description: 'its media type', maxLength: 128, optional: true },
      if_absent: { kind: 'boolean', description: 'fails where there is one already', optional: true },
    },
  }),
  delete: () => ({ description: 'Deletes an object.', resource: 'Object', parameters: { key } }),
  presign: ({ presignMaxSeconds }) => ({
    description: 'Gives an address that reads an object, for whoever has the address, as long as it is good.',
    resource: 'Object',
    parameters: {
      key,
      seconds: {
        kind: 'integer',
        description: `how long; ${Math.min(presignDefaultSeconds, presignMaxSeconds)} unless said`,
        minimum: 1,
        maximum: presignMaxSeconds,
        optional: true,
      },
    },
  }),
};

export function presignSeconds({ seconds }: ArgumentObject, { presignMaxSeconds }: Described): number {
  return typeof seconds === 'number' ? seconds : Math.min(presignDefaultSeconds, presignMaxSeconds);
}

/**
 * The object or the folder that a call works on, in all the folders that it lies in. Errors: `invalid_request` for arguments that do not go together,
 * so that nothing is decided on them.
 */
export function resourceOfS3Call(
  settings: Pick<S3Settings, 'bucket' | 'prefix'>,
  operation: string,
  { value }: Arguments,
): Resource {
  if (operation === 'put') checkContent(value);
  const { bucket } = settings;
  const names = [bucket, ...wholeKey(settings, operation === 'list' ? value['prefix'] : value['key']).split('/')];
  const folders = names.slice(1, -1).map((_, index) => names.slice(0, index + 2).join('/'));
  const prefixes = folders.toReversed().map((id) => ({ type: 'Prefix' as const, id }));
  const type = operation === 'list' ? 'Prefix' : 'Object';
  return { type, id: names.join('/'), within: [...prefixes, { type: 'Bucket', id: bucket }] };
}

/** As the store has it. Errors: `invalid_request` for one that is too long. */
export function wholeKey({ prefix }: Pick<S3Settings, 'prefix'>, relative: unknown): string {
  const whole = typeof relative === 'string' ? `${prefix}/${relative}` : prefix;
  // A folder that is listed has a `/` after it.
  if (Buffer.byteLength(whole) < keyMaxBytes) return whole;
  throw new BulkheadError('invalid_request', 'The key is too long.', { details: { field: 'key' } });
}

function checkContent({ text, base64, file, content_type: contentType }: ArgumentObject): void {
  if ([text, base64, file].filter((content) => content !== undefined).length !== 1) {
    throw new BulkheadError('invalid_request', 'An object is written from one of text, base64 and file.', {
      details: { field: 'text' },
    });
  }
  if (typeof base64 === 'string' && Buffer.from(base64, 'base64').toString('base64') !== base64) {
    throw new BulkheadError('invalid_request', 'The content is not Base64.', { details: { field: 'base64' } });
  }
  if (typeof contentType === 'string' && !/^[\w.+-]+\/[\w.+-]+(?:; ?[\w-]+=[\w.+-]+)*$/.test(contentType)) {
    throw new BulkheadError('invalid_request', 'The content type is none.', { details: { field: 'content_type' } });
  }
}
