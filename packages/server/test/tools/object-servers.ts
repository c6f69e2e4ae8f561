// Servers of objects on loopback, for tests: moto, which speaks as AWS does, and SeaweedFS, which enforces.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts, whenReady } from '../../../../script/loopback-server.ts';
import { prepareMoto } from '../../../../script/object-servers.ts';
import { startSeaweedfs } from '../../../../script/seaweedfs.ts';

export interface ObjectServer extends AsyncDisposable {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export async function startMoto(): Promise<ObjectServer> {
  const python = await prepareMoto();
  const [port] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  const server = await whenReady(child, [`${url}/moto-api/`]);
  return {
    url,
    accessKeyId: 'testing-key',
    secretAccessKey: 'canary-of-moto-secret',
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** One whose role is `roleOf` of `s3-support.ts`. */
export async function startEnforcing(): Promise<ObjectServer> {
  await using opening = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-seaweedfs-'));
  opening.defer(() => rmSync(folder, { recursive: true, force: true }));
  const { url, accessKeyId, secretAccessKey } = opening.use(await startSeaweedfs(folder));
  const open = opening.move();
  return { url, accessKeyId, secretAccessKey, [Symbol.asyncDispose]: () => open.disposeAsync() };
}
