// A guest image as the rest of the server sees it, and the manifest that lies beside its files.

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { z } from 'zod';

/** Part of every recipe digest: a change here makes every image anew. */
export const imageFormatVersion = 1;

export const imageFileNames = ['kernel', 'initramfs', 'root.erofs', 'sbom.spdx.json'] as const;
export type ImageFileName = (typeof imageFileNames)[number];

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
const fileSchema = z.object({ sha256: sha256Schema, bytes: z.number().int().nonnegative(), mtimeMs: z.number() });
const packageSchema = z.object({
  name: z.string().min(1),
  version: z.string().min(1),
  architecture: z.string().min(1),
  /** Of the .deb, as the archive's signed index has it. */
  sha256: sha256Schema,
  source: z.string().optional(),
  homepage: z.string().optional(),
});
export type ImagePackage = z.infer<typeof packageSchema>;

const manifestSchema = z.object({
  formatVersion: z.literal(imageFormatVersion),
  /** SHA-256 over every input of the recipe; the name of the image. */
  digest: sha256Schema,
  /** The same over the inputs of the root disk and the kernel alone: images that differ in the agent share them. */
  baseDigest: sha256Schema,
  createdAt: z.iso.datetime(),
  suite: z.string(),
  architecture: z.string(),
  kernelVersion: z.string(),
  files: z.record(z.enum(imageFileNames), fileSchema),
  tools: z.record(z.string(), z.string()),
  packages: z.array(packageSchema).min(1),
});
export type ImageManifest = z.infer<typeof manifestSchema>;

export interface Image {
  readonly digest: string;
  readonly dir: string;
  readonly kernelPath: string;
  readonly initramfsPath: string;
  readonly rootPath: string;
  readonly manifest: ImageManifest;
}

/** The manifest in `text`. Errors: `image_missing` when it is not one of this format. */
export function parseManifest(text: string): ImageManifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw damaged('manifest.json is not JSON', error);
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw damaged(`manifest.json is not valid: ${z.prettifyError(parsed.error)}`, parsed.error);
  return parsed.data;
}

/**
 * The image in a folder, checked by the sizes and times of its files; `inspectImage` compares digests.
 * Errors: `image_missing` when there is none, or not a whole one.
 */
export async function loadImage(dir: string): Promise<Image> {
  let text: string;
  try {
    text = await readFile(join(dir, 'manifest.json'), 'utf8');
  } catch (error) {
    throw damaged(`there is no readable manifest in ${dir}`, error);
  }
  const manifest = parseManifest(text);
  for (const name of imageFileNames) {
    const expected = manifest.files[name];
    const found = await stat(join(dir, name)).catch((error: unknown) => {
      throw damaged(`${name} cannot be read`, error);
    });
    if (found.size !== expected.bytes || Math.floor(found.mtimeMs) !== expected.mtimeMs) {
      throw damaged(`${name} is not as it was built`);
    }
  }
  return {
    digest: manifest.digest,
    dir,
    kernelPath: join(dir, 'kernel'),
    initramfsPath: join(dir, 'initramfs'),
    rootPath: join(dir, 'root.erofs'),
    manifest,
  };
}

function damaged(problem: string, cause?: unknown): BulkheadError {
  return new BulkheadError('image_missing', `The guest image cannot be used: ${problem}.`, {
    hint: 'Run `bulkhead image build`.',
    ...(cause === undefined ? {} : { cause }),
  });
}
