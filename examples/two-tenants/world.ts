// What lies outside of the machines: a database, an object store and a market's service, all on loopback, each with data of both tenants. What one tenant
// must never see of the other is a word of its own in each place; what nobody in a machine may see are the secrets.

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { join } from 'node:path';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { Client } from 'pg';
import { openDataDirectory } from '../../packages/server/src/store/data-directory.ts';
import { EmbeddedPostgres } from '../../packages/server/src/store/embedded-postgres.ts';
import { type Seaweedfs, startSeaweedfs } from '../../script/seaweedfs.ts';

export const tenantNames = ['acme', 'globex'] as const;
export type TenantName = (typeof tenantNames)[number];

/** What is planted for a tenant. */
export interface Planted {
  /** In its rows, its objects and what the service tells it: its sessions may see it, and nobody else's. */
  readonly canary: string;
  /** What its tools reach the service with. No machine may ever have it. */
  readonly marketKey: string;
}

export interface World extends AsyncDisposable {
  readonly planted: Readonly<Record<TenantName, Planted>>;
  /** The directory of the database's socket. */
  readonly postgresHost: string;
  readonly objects: Seaweedfs;
  readonly bucket: string;
  readonly market: string;
  /** Orders that came to the market: there may be none. */
  readonly orders: () => number;
}

const data = join(import.meta.dirname, '../monte-carlo-var');
const bucket = 'market-data';

function plant(name: TenantName): Planted {
  const word = (what: string): string => `${what}-of-${name}-${randomBytes(12).toString('hex')}`;
  return { canary: word('canary'), marketKey: word('market-key') };
}

export async function openWorld(folder: string, onProgress: (message: string) => void): Promise<World> {
  await using opening = new AsyncDisposableStack();
  const planted = { acme: plant('acme'), globex: plant('globex') };
  const postgresHost = opening.use(await openDatabase(join(folder, 'outside'), planted)).host;
  onProgress('starting an object store (SeaweedFS), which is fetched once for this checkout');
  const objects = opening.use(await startSeaweedfs(join(folder, 'objects')));
  await fillObjects(objects, planted);
  const market = opening.use(await openMarket(planted));
  const open = opening.move();
  return {
    planted,
    postgresHost,
    objects,
    bucket,
    market: market.url,
    orders: market.orders,
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Positions of both tenants in one table, with row-level security bound to the login. */
async function openDatabase(
  folder: string,
  planted: World['planted'],
): Promise<AsyncDisposable & { readonly host: string }> {
  await using opening = new AsyncDisposableStack();
  mkdirSync(folder);
  const directory = opening.use(await openDataDirectory(folder));
  const postgres = opening.use(await EmbeddedPostgres.start(directory.path, directory.lockFd));
  const root = new Client({ ...postgres.connection, user: 'postgres', database: 'postgres' });
  await root.connect();
  await root.query('CREATE DATABASE portfolio');
  await root.end();
  const client = new Client({ ...postgres.connection, user: 'postgres', database: 'portfolio' });
  await client.connect();
  await client.query(`
    CREATE ROLE acme LOGIN; CREATE ROLE globex LOGIN;
    REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE TEMPORARY ON DATABASE portfolio FROM PUBLIC;
    CREATE TABLE positions (tenant text, index text, units float8, multiplier float8, currency_rate float8, note text);
    ALTER TABLE positions ENABLE ROW LEVEL SECURITY; ALTER TABLE positions FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON positions USING (tenant = session_user) WITH CHECK (tenant = session_user);
    GRANT USAGE ON SCHEMA public TO acme, globex; GRANT SELECT ON positions TO acme, globex;
  `);
  const [, ...lines] = readFileSync(join(data, 'positions.csv'), 'utf8').trim().split('\n');
  for (const name of tenantNames) {
    for (const line of lines) {
      const [index, units, multiplier, rate] = line.split(',');
      const held = Number(units) * (name === 'acme' ? 1 : -2);
      const row = [name, index, held, multiplier, rate, planted[name].canary];
      await client.query('INSERT INTO positions VALUES ($1, $2, $3, $4, $5, $6)', row);
    }
  }
  await client.end();
  const open = opening.move();
  return { host: join(directory.path, 'postgres'), [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** One bucket, a prefix for each tenant. */
async function fillObjects(
  { url: endpoint, accessKeyId, secretAccessKey }: Seaweedfs,
  planted: World['planted'],
): Promise<void> {
  const credentials = { accessKeyId, secretAccessKey };
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const prices = readFileSync(join(data, 'prices.csv'), 'utf8');
  for (const name of tenantNames) {
    const put = (key: string, body: string): Promise<unknown> =>
      client.send(new PutObjectCommand({ Bucket: bucket, Key: `${name}/${key}`, Body: body }));
    await put('indices.csv', prices);
    await put('notes.txt', planted[name].canary);
  }
  client.destroy();
}

interface Market extends AsyncDisposable {
  readonly url: string;
  readonly orders: () => number;
}

/** Quotes for whoever has a key; each key has a symbol of its own. */
async function openMarket(planted: World['planted']): Promise<Market> {
  const last = readFileSync(join(data, 'prices.csv'), 'utf8').trim().split('\n').at(-1)?.split(',') ?? [];
  const prices = new Map(['DAX', 'SMI', 'CAC', 'FTSE'].map((index, place) => [index, Number(last[place + 1])]));
  let orders = 0;
  const server = createServer((request, response) => {
    if (request.method === 'POST') orders += 1;
    answer(request, response);
  });
  function answer({ headers, url = '' }: IncomingMessage, response: ServerResponse): void {
    const name = tenantNames.find((each) => headers.authorization === `Bearer ${planted[each].marketKey}`);
    const symbol = /^\/v1\/quotes\/([A-Z-]+)$/.exec(url)?.[1] ?? '';
    const price = prices.get(symbol);
    if (name === undefined) reply(response, 401, { error: 'no such key' });
    else if (symbol === name.toUpperCase()) reply(response, 200, { symbol, note: planted[name].canary });
    else if (price === undefined) reply(response, 404, { error: 'no such symbol' });
    else reply(response, 200, { symbol, price });
  }
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    orders: () => orders,
    [Symbol.asyncDispose]: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(body));
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The market has no port.');
  return address.port;
}
