// A guest image as the rest of the server sees it, and the manifest that lies beside its files.

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BulkheadError } from '@bulkhead/protocol';
import { z } from 'zod';

/** Part of every recipe digest: a change here makes every image anew. */
export const imageFormatVersion = 1;

export const imageFileNames = ['kernel', 'initramfs', 'root.erofs', 'sbom.spdx.json'] as const;
export type ImageFileName = (typeof imageFileNames)[number];

export interface ImagePackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Of the .deb, as the archive's signed index has it. */
  readonly sha256: string;
  readonly source?: string | undefined;
  readonly homepage?: string | undefined;
}

/** A file as it was built: lower-case hex digest, size, time of the last change in whole milliseconds. */
export interface SealedFile {
  readonly sha256: string;
  readonly bytes: number;
  readonly mtimeMs: number;
}

export interface ImageManifest {
  readonly formatVersion: typeof imageFormatVersion;
  /** SHA-256 over every input of the recipe; the name of the image. */
  readonly digest: string;
  /** The same over the inputs of the root disk and the kernel alone: images that differ in the agent share them. */
  readonly baseDigest: string;
  readonly createdAt: string;
  readonly suite: string;
  readonly architecture: string;
  readonly kernelVersion: string;
  readonly files: Readonly<Record<ImageFileName, SealedFile>>;
  readonly tools: Readonly<Record<string, string>>;
  readonly packages: readonly ImagePackage[];
}

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
export const sealedFileSchema: z.ZodType<SealedFile> = z.object({
  sha256: sha256Schema,
  bytes: z.number().int().nonnegative(),
  mtimeMs: z.number(),
});
export const packageSchema: z.ZodType<ImagePackage> = z.object({
  name: z.string().min(1),
  version: z.string().min(1),
  architecture: z.string().min(1),
  sha256: sha256Schema,
  source: z.string().optional(),
  homepage: z.string().optional(),
});

const manifestSchema: z.ZodType<ImageManifest> = z.object({
  formatVersion: z.literal(imageFormatVersion),
  digest: sha256Schema,
  baseDigest: sha256Schema,
  createdAt: z.iso.datetime(),
  suite: z.string(),
  architecture: z.string(),
  kernelVersion: z.string(),
  files: z.record(z.enum(imageFileNames), sealedFileSchema),
  tools: z.record(z.string(), z.string()),
  packages: z.array(packageSchema).min(1),
});
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
