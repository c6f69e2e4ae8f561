// Servers of objects on loopback, for tests: moto, which speaks as AWS does, and MinIO, which enforces.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { minioPath, minioProblemPath, prepareMoto } from '../../../../script/object-servers.ts';

export interface ObjectServer extends AsyncDisposable {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

const readyWithinMs = 30_000;

export async function startMoto(): Promise<ObjectServer> {
  const python = await prepareMoto();
  const port = await freePort();
  const child = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  return await whenReady(child, `http://127.0.0.1:${port}`, '/moto-api/', {
    accessKeyId: 'testing-key',
    secretAccessKey: 'canary-of-moto-secret',
  });
}

/** Why there is no MinIO, for `skip`; undefined when there is one. */
export const minioAbsence: string | undefined = existsSync(minioPath)
  ? undefined
  : `MinIO is not built: ${existsSync(minioProblemPath) ? readFileSync(minioProblemPath, 'utf8').slice(0, 200) : 'script/test builds it'}`;

export async function startMinio(): Promise<ObjectServer> {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-minio-'));
  const port = await freePort();
  const keys = { accessKeyId: 'installation', secretAccessKey: 'canary-of-minio-secret' };
  const child = spawn(minioPath, ['server', '--quiet', '--address', `127.0.0.1:${port}`, folder], {
    stdio: 'ignore',
    env: {
      HOME: folder,
      MINIO_ROOT_USER: keys.accessKeyId,
      MINIO_ROOT_PASSWORD: keys.secretAccessKey,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
      MINIO_CALLHOME_ENABLE: 'off',
    },
  });
  const server = await whenReady(child, `http://127.0.0.1:${port}`, '/minio/health/ready', keys);
  return {
    ...server,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => void server.close(resolve));
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

async function whenReady(
  child: ChildProcess,
  url: string,
  path: string,
  keys: { readonly accessKeyId: string; readonly secretAccessKey: string },
): Promise<ObjectServer> {
  const ended = new Promise<void>(
    (resolve) => void child.once('close', () => resolve()).once('error', () => resolve()),
  );
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const deadline = performance.now() + readyWithinMs;
  for (;;) {
    const ready = await fetch(url + path).then(
      ({ ok }) => ok,
      () => false,
    );
    if (ready) return { url, ...keys, [Symbol.asyncDispose]: stop };
    if (child.exitCode !== null || performance.now() > deadline) {
      await stop();
      assert.fail(`${child.spawnfile} is not ready at ${url}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
