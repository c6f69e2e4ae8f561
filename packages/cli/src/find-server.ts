// Which server a command asks, if any: the one that is named, the one of `bulkhead login`, one that runs on this host; otherwise none.
// A key is sent to the server that it was given for, and to no other.

import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { type Config, destroySecret, findServerNearby, readOwnerFile, writeSecret } from '@bulkhead/server';

export interface ServerAddress {
  readonly url: string;
  readonly apiKey: string;
}

/** What `bulkhead login` keeps. */
export interface Login {
  readonly url: string;
  readonly apiKey: string;
}

/** For commands that can do without: this process does it. */
const none = 'none';

/** `named`: by `--server`. Undefined: this process does it. Errors: `unauthenticated` where there is no key; `config_invalid`. */
export async function findServer(
  { client, stateDir }: Pick<Config, 'client' | 'stateDir'>,
  named: string | undefined,
): Promise<ServerAddress | undefined> {
  const url = named ?? client.url;
  if (url === none) return undefined;
  const login = await readLogin(stateDir);
  if (url === undefined) {
    if (login !== undefined) return { url: login.url, apiKey: client.apiKey ?? login.apiKey };
    const nearby = await findServerNearby(stateDir);
    return nearby && { url: nearby.url, apiKey: client.apiKey ?? nearby.credential };
  }
  const apiKey = client.apiKey ?? (await keyFor(url, login, stateDir));
  if (apiKey !== undefined) return { url, apiKey };
  throw new BulkheadError('unauthenticated', 'There is no API key for this server.', {
    hint: '`bulkhead login URL` keeps one; BULKHEAD_API_KEY gives one.',
    details: { server: describeUrl(url) },
  });
}

async function keyFor(url: string, login: Login | undefined, stateDir: string): Promise<string | undefined> {
  if (login !== undefined && isSame(login.url, url)) return login.apiKey;
  const nearby = await findServerNearby(stateDir);
  return nearby !== undefined && isSame(nearby.url, url) ? nearby.credential : undefined;
}

function isSame(one: string, other: string): boolean {
  return URL.canParse(one) && URL.canParse(other) && new URL(one).href === new URL(other).href;
}

/** Without what it may hold of a secret. */
function describeUrl(url: string): string {
  return URL.canParse(url) ? new URL(url).host : '';
}

const loginPath = (stateDir: string): string => join(stateDir, 'login.json');

/** Errors: `config_invalid`. */
export async function readLogin(stateDir: string): Promise<Login | undefined> {
  const path = loginPath(stateDir);
  const text = await readOwnerFile(path);
  if (text === undefined) return undefined;
  const login: unknown = parseJson(text);
  if (isLogin(login)) return { url: login.url, apiKey: login.apiKey };
  throw new BulkheadError('config_invalid', `${path} is not what \`bulkhead login\` keeps.`, {
    hint: '`bulkhead logout` removes it.',
  });
}

export async function writeLogin(stateDir: string, { url, apiKey }: Login): Promise<void> {
  await writeSecret(loginPath(stateDir), Buffer.from(`${JSON.stringify({ url, apiKey })}\n`));
}

/** Idempotent. */
export async function removeLogin(stateDir: string): Promise<void> {
  await destroySecret(loginPath(stateDir));
}

function isLogin(value: unknown): value is Login {
  return (
    typeof value === 'object' &&
    value !== null &&
    'url' in value &&
    'apiKey' in value &&
    typeof value.url === 'string' &&
    typeof value.apiKey === 'string'
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
