// A service on loopback that keeps every byte that it is sent, and answers as a test says.

import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Recorder extends AsyncDisposable {
  readonly origin: string;
  readonly port: number;
  /** What came, by connection, in the order of their beginnings. */
  readonly received: Buffer[];
  /** The last one, as text of one byte a character. */
  last(): string;
}

export type Answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

export async function openRecorder(answer: Answer): Promise<Recorder> {
  const received: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => answer(request, response, Buffer.concat(chunks)));
    response.on('error', () => undefined);
  });
  server.on('connection', (socket) => {
    const index = received.push(Buffer.alloc(0)) - 1;
    // Beside the server's own reader, which goes on.
    socket.on('data', (chunk: Buffer) => {
      received[index] = Buffer.concat([received[index] ?? Buffer.alloc(0), chunk]);
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    port,
    received,
    last: () => (received.at(-1) ?? Buffer.alloc(0)).toString('latin1'),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function answerJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
