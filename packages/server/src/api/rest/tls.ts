// The certificate of the server. Whoever renews it replaces the files; connections from then on have the new one.

import { readFile, stat } from 'node:fs/promises';
import { Server as HttpsServer } from 'node:https';
import type { Server } from 'node:http';
import { createSecureContext } from 'node:tls';
import { BulkheadError } from '@bulkhead/protocol';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TlsOptions {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly minVersion: 'TLSv1.2';
}

const lookEveryMs = 60_000;

/** Errors: `config_invalid` when they cannot be read or do not belong together. */
export async function readTls({ certFile, keyFile }: TlsFiles): Promise<TlsOptions> {
  try {
    const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
    const options = { cert, key, minVersion: 'TLSv1.2' } as const;
    createSecureContext(options);
    return options;
  } catch (error) {
    throw new BulkheadError('config_invalid', 'The certificate of the server and its key cannot be used.', {
      hint: `Look at ${certFile} and ${keyFile}: both in PEM, readable, and of each other.`,
      cause: error,
    });
  }
}

/** Looks at the files from time to time. One that cannot be used changes nothing, and is told. */
export function followTls(server: Server, files: TlsFiles, onProblem: (error: unknown) => void): Disposable {
  if (!(server instanceof HttpsServer)) throw new TypeError('The server has no certificate.');
  let seen = versionOf(files);
  const look = async (): Promise<void> => {
    const now = await versionOf(files);
    if (now === (await seen)) return;
    seen = Promise.resolve(now);
    server.setSecureContext(await readTls(files));
  };
  const timer = setInterval(() => void look().catch(onProblem), lookEveryMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function versionOf({ certFile, keyFile }: TlsFiles): Promise<string> {
  const [cert, key] = await Promise.all([stat(certFile), stat(keyFile)]);
  return `${cert.mtimeMs} ${key.mtimeMs}`;
}
