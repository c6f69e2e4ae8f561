// ClientHellos: one that OpenSSL makes, and others put together part by part.

import { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';

/** What a TLS client says first. */
export async function realHello(options: ConnectionOptions): Promise<Buffer> {
  const said = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      said.resolve(chunk);
      done();
    },
  });
  const client = connect({ socket: wire, ...options });
  client.on('error', () => {});
  const hello = await said.promise;
  client.destroy();
  return hello;
}

export function vector(lengthBytes: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const length = Buffer.alloc(lengthBytes);
  length.writeUIntBE(content.length, 0, lengthBytes);
  return Buffer.concat([length, content]);
}

export function extension(type: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 255]), vector(2, content)]);
}

export function serverName(name: string, type = 0): Buffer {
  return extension(0, vector(2, Buffer.from([type]), vector(2, Buffer.from(name, 'latin1'))));
}

export interface HelloParts {
  readonly extensions?: readonly Uint8Array[];
  readonly version?: number;
  readonly after?: Uint8Array;
}

/** The handshake message, without a record around it. */
export function helloMessage({ extensions = [], version = 0x0303, after = Buffer.alloc(0) }: HelloParts): Buffer {
  return Buffer.concat([
    Buffer.from([1]),
    vector(
      3,
      Buffer.from([version >> 8, version & 255]),
      Buffer.alloc(32, 7),
      vector(1),
      vector(2, Buffer.from([0x13, 0x01])),
      vector(1, Buffer.from([0])),
      vector(2, ...extensions),
      after,
    ),
  ]);
}

/** In records of at most so many bytes. */
export function records(message: Buffer, size = 16_384): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    pieces.push(Buffer.from([22, 3, 1]), vector(2, message.subarray(at, at + size)));
  }
  return Buffer.concat(pieces);
}
