// Building an image with a stand-in for mmdebstrap: what is in the cache afterwards, however the build ends.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type BuildImageOptions, buildImage } from '../../src/images/image-build.ts';
import { inspectImage, listImages, pruneImages } from '../../src/images/image-store.ts';
import type { Image } from '../../src/images/image.ts';

const fake = fileURLToPath(new URL('fake-mmdebstrap.sh', import.meta.url));

async function makeCache(context: TestContext): Promise<string> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'bulkhead-images-'));
  context.after(() => rm(cacheDir, { recursive: true, force: true }));
  return cacheDir;
}

/** `how` is what the stand-in does; it reads the environment, which children inherit. */
async function build(cacheDir: string, how = '', options: Partial<BuildImageOptions> = {}): Promise<Image> {
  process.env['BULKHEAD_FAKE'] = how;
  return await buildImage({ cacheDir, mmdebstrap: fake, minFreeBytes: 0, ...options });
}

async function assertNothingHalfMade(cacheDir: string): Promise<void> {
  assert.deepEqual(await readdir(join(cacheDir, 'images')), []);
  assert.deepEqual(await readdir(join(cacheDir, 'image-bases')), []);
  assert.deepEqual(await readdir(join(cacheDir, 'image-building')), []);
}

test('an image is built once, listed, and inspected with every digest', async (context) => {
  const cacheDir = await makeCache(context);
  const stages: string[] = [];
  const built = await build(cacheDir, '', { onProgress: ({ stage }) => void stages.push(stage) });
  assert.deepEqual(stages, ['index', 'kernel', 'finish']);
  assert.equal((await build(cacheDir, 'broken')).digest, built.digest, 'found in the cache: nothing is run');
  const [listed, ...others] = await listImages(cacheDir);
  assert.equal(listed?.digest, built.digest);
  assert.equal(others.length, 0);
  const inspected = await inspectImage(cacheDir, built.digest.slice(0, 8), { verify: true });
  assert.deepEqual(
    inspected.manifest.packages.map(({ name, version }) => `${name} ${version}`),
    ['bash 5.2', 'zlib1g 1:1.2'],
  );
  assert.equal(inspected.manifest.kernelVersion, '6.1-test');
  assert.deepEqual(await readdir(join(cacheDir, 'image-building')), []);
});

const sbomSchema = z.object({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: z.string().min(1),
  documentNamespace: z.url(),
  creationInfo: z.object({
    created: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    creators: z.array(z.string().regex(/^Tool: /)).min(1),
  }),
  packages: z.array(
    z.object({
      SPDXID: z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/),
      name: z.string(),
      versionInfo: z.string(),
      downloadLocation: z.string(),
      checksums: z
        .array(z.object({ algorithm: z.literal('SHA256'), checksumValue: z.string().regex(/^[0-9a-f]{64}$/) }))
        .optional(),
    }),
  ),
  relationships: z.array(
    z.object({ spdxElementId: z.string(), relationshipType: z.string(), relatedSpdxElement: z.string() }),
  ),
});

test('the SBOM has every package, with its digest, in the form of SPDX 2.3', async (context) => {
  const { dir, manifest } = await build(await makeCache(context));
  const sbom = sbomSchema.parse(JSON.parse(await readFile(join(dir, 'sbom.spdx.json'), 'utf8')));
  const described = sbom.packages.filter(({ checksums }) => checksums !== undefined);
  assert.deepEqual(
    described.map(({ name, versionInfo, checksums }) => [name, versionInfo, checksums?.[0]?.checksumValue]),
    manifest.packages.map(({ name, version, sha256 }) => [name, version, sha256]),
  );
  const ids = new Set(sbom.packages.map(({ SPDXID }) => SPDXID));
  assert.equal(ids.size, sbom.packages.length, 'ids are unique');
  for (const { relatedSpdxElement } of sbom.relationships) assert.ok(ids.has(relatedSpdxElement), relatedSpdxElement);
});

const failures = [
  { how: 'network', code: 'image_build_failed', message: /archive could not be reached/ },
  { how: 'space', code: 'disk_full', message: /disk filled up/ },
  { how: 'broken', code: 'image_build_failed', message: /ended with code 3/ },
] as const;
for (const { how, code, message } of failures) {
  test(`a build that fails (${how}) says why and leaves nothing half made`, async (context) => {
    const cacheDir = await makeCache(context);
    await assert.rejects(build(cacheDir, how), { code, message });
    await assertNothingHalfMade(cacheDir);
  });
}

test('too little room on the disk is said before anything is done', async (context) => {
  const cacheDir = await makeCache(context);
  await assert.rejects(build(cacheDir, '', { minFreeBytes: 2 ** 60 }), { code: 'disk_full', message: /MiB are free/ });
  await assertNothingHalfMade(cacheDir);
});

test('a program that is not there is named', async (context) => {
  const cacheDir = await makeCache(context);
  await assert.rejects(build(cacheDir, '', { mmdebstrap: join(cacheDir, 'absent') }), {
    code: 'image_build_failed',
    message: /mmdebstrap/,
  });
  await assertNothingHalfMade(cacheDir);
});

test('a caller that gives up ends the build and all its processes', async (context) => {
  const cacheDir = await makeCache(context);
  const giveUp = new AbortController();
  const building = build(cacheDir, 'hang', {
    signal: giveUp.signal,
    onProgress: ({ stage }) => stage === 'download' && giveUp.abort(),
  });
  await assert.rejects(building, { code: 'cancelled' });
  await assertNothingHalfMade(cacheDir);
});

/** A builder in a process of its own; resolves when it has printed a line that holds `sign`. */
async function startBuilder(cacheDir: string, how: string, sign: string) {
  const code = `
    import { buildImage } from ${JSON.stringify(new URL('../../src/images/image-build.ts', import.meta.url).href)};
    const image = await buildImage({ cacheDir: ${JSON.stringify(cacheDir)}, mmdebstrap: ${JSON.stringify(fake)}, minFreeBytes: 0,
      onProgress: ({ stage }) => console.log(stage) });
    console.log('built', image.digest);`;
  const child = spawn(process.execPath, ['--conditions=bulkhead-source', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, BULKHEAD_FAKE: how },
  });
  let printed = '';
  const exited = new Promise<string>((resolve) => child.once('close', () => resolve(printed)));
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
      if (printed.includes(sign)) resolve();
    });
    child.once('close', () => resolve());
  });
  return { child, exited };
}

test('what a killed builder left is ended and swept by the next one', async (context) => {
  const cacheDir = await makeCache(context);
  const { child, exited } = await startBuilder(cacheDir, 'hang', 'download');
  assert.equal((await readdir(join(cacheDir, 'image-building'))).length, 1, 'the control: it was building');
  child.kill('SIGKILL');
  await exited;
  const image = await build(cacheDir);
  assert.equal((await listImages(cacheDir)).at(0)?.digest, image.digest);
  assert.deepEqual(await readdir(join(cacheDir, 'image-building')), []);
});

test('two builders at once make one image between them', async (context) => {
  const cacheDir = await makeCache(context);
  const builders = await Promise.all([startBuilder(cacheDir, '', 'built'), startBuilder(cacheDir, '', 'built')]);
  const printed = await Promise.all(builders.map(({ exited }) => exited));
  const [first, second] = printed.map((text) => /built (\w+)/.exec(text)?.[1]);
  assert.ok(first !== undefined && first === second, printed.join('---'));
  assert.equal(
    printed.filter((text) => text.includes('finish')).length,
    1,
    'one of them built, the other took what it made',
  );
  assert.equal((await listImages(cacheDir)).length, 1);
});

test('a file that was changed is noticed: by its size at once, by its digest on inspection; then it is built anew', async (context) => {
  const cacheDir = await makeCache(context);
  const { dir, manifest } = await build(cacheDir);
  const path = join(dir, 'root.erofs');
  const { mtimeMs } = manifest.files['root.erofs'];
  const content = await readFile(path, 'latin1');
  await writeFile(path, content.replace(/\d/, 'x'), 'latin1');
  await utimes(path, mtimeMs / 1000, mtimeMs / 1000);
  await assert.rejects(inspectImage(cacheDir, undefined, { verify: true }), {
    code: 'image_missing',
    message: /root\.erofs/,
  });
  await appendFile(path, 'more');
  assert.deepEqual(await listImages(cacheDir), []);
  const rebuilt = await build(cacheDir, '', { force: true });
  await inspectImage(cacheDir, rebuilt.digest, { verify: true });
});

test('prune removes all but the newest, and what only they used', async (context) => {
  const cacheDir = await makeCache(context);
  const { digest } = await build(cacheDir);
  assert.deepEqual(await pruneImages(cacheDir), []);
  assert.equal((await pruneImages(cacheDir, { keep: 0 })).at(0)?.digest, digest);
  await assertNothingHalfMade(cacheDir);
});
