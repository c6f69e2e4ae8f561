// The images of a host as the command line sees them: plain data in, plain data out.

import { type BuildImageOptions, buildImage } from './image-build.ts';
import { inspectImage, listImages, pruneImages } from './image-store.ts';
import type { Image } from './image.ts';

export interface OpenImagesOptions {
  readonly cacheDir: string;
  readonly recipeDir?: string;
}

interface ActOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: string) => void;
}

type Plain = Readonly<Record<string, unknown>>;

export interface HostImages {
  build(options?: ActOptions): Promise<Plain>;
  list(): Promise<readonly Plain[]>;
  /** One image, every file compared with its digest; the newest when none is named. */
  inspect(image?: string): Promise<Plain>;
  prune(options?: ActOptions): Promise<readonly Plain[]>;
}

export async function openImages(options: OpenImagesOptions): Promise<HostImages> {
  const { cacheDir, recipeDir } = options;
  return {
    build: async (act = {}) => {
      const { signal, onProgress } = act;
      const build: BuildImageOptions = {
        cacheDir,
        ...(recipeDir === undefined ? {} : { recipeDir }),
        ...(signal === undefined ? {} : { signal }),
        onProgress: ({ message, elapsedMs }) => onProgress?.(`image: ${message} (${(elapsedMs / 1000).toFixed(1)} s)`),
      };
      return summarise(await buildImage(build));
    },
    list: async () => (await listImages(cacheDir)).map(summarise),
    inspect: async (image) => {
      const found = await inspectImage(cacheDir, image, { verify: true });
      return { ...summarise(found), verified: true, ...found.manifest };
    },
    prune: async ({ signal, onProgress } = {}) => {
      const removed = await pruneImages(cacheDir, {
        ...(signal === undefined ? {} : { signal }),
        onWait: () => onProgress?.('image: waiting for another process that is building the image'),
      });
      return removed.map(summarise);
    },
  };
}

function summarise({ digest, dir, manifest }: Image): Plain {
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  return {
    digest,
    createdAt: manifest.createdAt,
    bytes,
    suite: manifest.suite,
    kernelVersion: manifest.kernelVersion,
    packageCount: manifest.packages.length,
    dir,
  };
}
