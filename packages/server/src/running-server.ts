// A server tells the commands of its own host where it is, and how its owner may ask: in a file of the state directory that only the owner can read.
// The credential in it lives as long as the server, and is written down nowhere else.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { destroySecret, writeSecret } from './lib/key-file.ts';
import { readOwnerFile } from './lib/owner-file.ts';
import { isOwnerAlive, ownerMark } from './lib/owner.ts';

const schema = z.object({ owner: z.string(), url: z.string(), credential: z.string() });

export interface ServerNearby {
  readonly url: string;
  readonly credential: string;
}

const pathOf = (stateDir: string): string => join(stateDir, 'server.json');

/** A new credential for the owner of the state directory. */
export function makeOwnerCredential(): string {
  return `owner_${randomBytes(32).toString('base64url')}`;
}

/** Until it is disposed, commands find the server. */
export async function announceServer(stateDir: string, server: ServerNearby): Promise<AsyncDisposable> {
  const path = pathOf(stateDir);
  const text = JSON.stringify({ owner: ownerMark, ...server });
  await writeSecret(path, Buffer.from(text));
  return {
    async [Symbol.asyncDispose]() {
      // Another one may have come since.
      if ((await readOwnerFile(path)) === text) await destroySecret(path);
    },
  };
}

/** The server that runs on this host with this state directory; what a dead one left does not count. Errors: `config_invalid`. */
export async function findServerNearby(stateDir: string): Promise<ServerNearby | undefined> {
  const text = await readOwnerFile(pathOf(stateDir));
  if (text === undefined) return undefined;
  const parsed = schema.safeParse(parseJson(text));
  if (!parsed.success || !isOwnerAlive(parsed.data.owner)) return undefined;
  return { url: parsed.data.url, credential: parsed.data.credential };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
