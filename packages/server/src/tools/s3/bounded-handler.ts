// The end of an S3 client that speaks HTTP, with a bound on what comes back: the client reads answers that are XML whole, however long they are.

import { Readable, Transform, type TransformCallback } from 'node:stream';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { BulkheadError } from '@bulkhead/protocol';

type Handle = NodeHttpHandler['handle'];

export class BoundedHandler extends NodeHttpHandler {
  readonly #bytesMax: number;

  constructor(bytesMax: number, timeoutMs: number) {
    super({ connectionTimeout: Math.min(timeoutMs, 5000), requestTimeout: timeoutMs, throwOnRequestTimeout: true });
    this.#bytesMax = bytesMax;
  }

  override async handle(...call: Parameters<Handle>): ReturnType<Handle> {
    const answer = await super.handle(...call);
    const { body } = answer.response;
    if (body instanceof Readable) answer.response.body = bound(body, this.#bytesMax);
    return answer;
  }
}

function bound(body: Readable, bytesMax: number): Readable {
  let bytes = 0;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
      bytes += chunk.length;
      if (bytes <= bytesMax) done(null, chunk);
      else done(new BulkheadError('limit_exceeded', `The object store answers with more than ${bytesMax} bytes.`));
    },
  });
  body.on('error', (error) => bounded.destroy(error));
  bounded.on('close', () => body.destroy());
  return body.pipe(bounded);
}
