// What a failed build says: which of the few things that go wrong in the world it was, and what to do.

import { BulkheadError } from '@bulkhead/protocol';
import { errnoOf } from '../lib/errno.ts';
import type { BuildProcessResult } from './build-process.ts';

const logTailLines = 20;

const networkSigns =
  /could not resolve|temporary failure (?:in name )?resol|failed to fetch|unable to connect|could not connect|connection (?:timed out|refused|failed)|network is unreachable|no route to host/i;
const spaceSigns = /no space left on device|not enough free space|disk quota exceeded/i;
const namespaceSigns = /unshare|newuidmap|subuid|user namespace/i;

export function outOfSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
}

const mib = (bytes: number): string => `${Math.floor(bytes / 1_048_576)} MiB`;

export function diskFull(neededBytes?: number, freeBytes?: number, cause?: unknown): BulkheadError {
  const facts = neededBytes === undefined || freeBytes === undefined ? undefined : { neededBytes, freeBytes };
  const message =
    facts === undefined
      ? 'The disk filled up while the guest image was being built.'
      : `Building the guest image needs ${mib(facts.neededBytes)} on the disk of the cache; ${mib(facts.freeBytes)} are free.`;
  return new BulkheadError('disk_full', message, {
    hint: 'Free some space, run `bulkhead image prune`, or set BULKHEAD_CACHE_DIR to a folder on another disk.',
    ...(facts === undefined ? {} : { details: facts }),
    ...(cause === undefined ? {} : { cause }),
  });
}

export function toolsMissing(packages: readonly string[]): BulkheadError {
  return new BulkheadError('image_build_failed', `Building the guest image needs ${packages.join(', ')}.`, {
    hint: `Install what is missing: apt-get install ${packages.join(' ')}`,
    details: { missingPackages: packages },
  });
}

/** The error for a program that ended badly, from the last lines it wrote. */
export function programFailed(program: string, result: BuildProcessResult): BulkheadError {
  const log = result.log.slice(-logTailLines);
  const text = result.log.join('\n');
  if (spaceSigns.test(text)) {
    return new BulkheadError('disk_full', 'The disk filled up while the guest image was being built.', {
      hint: 'Free some space, or set BULKHEAD_CACHE_DIR to a folder on another disk.',
      details: { log },
    });
  }
  const [message, hint] = explain(text);
  const how = result.exitCode === undefined ? 'was killed' : `ended with code ${result.exitCode}`;
  return new BulkheadError('image_build_failed', `${message} (${program} ${how}).`, { hint, details: { log } });
}

function explain(text: string): readonly [message: string, hint: string] {
  if (networkSigns.test(text)) {
    return [
      'The Debian archive could not be reached while the guest image was being built',
      'Only the build needs the network: check the connection or the proxy settings, or name a mirror in BULKHEAD_DEBIAN_MIRROR.',
    ];
  }
  if (process.getuid?.() !== 0 && namespaceSigns.test(text)) {
    return [
      'This user may not make the user namespaces that building the guest image needs',
      'Install uidmap and allow unprivileged user namespaces, or build once as root.',
    ];
  }
  return [
    'The guest image could not be built',
    'The last lines of the log are in the details; try again, or report them.',
  ];
}

/** Any failure of a build as one of its typed errors. */
export function toBuildError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) {
    return new BulkheadError('cancelled', 'The guest image was not built: the caller gave up.', { cause: error });
  }
  if (error instanceof BulkheadError) return error;
  if (outOfSpace(error)) return diskFull(undefined, undefined, error);
  const reason = error instanceof Error ? error.message : String(error);
  return new BulkheadError('image_build_failed', `The guest image could not be built: ${reason}.`, {
    hint: 'Run `bulkhead doctor`; then try again.',
    cause: error,
  });
}
