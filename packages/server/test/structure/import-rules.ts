// Which part may import which. The rules are DESIGN's arrows: `protocol <- {sdk, server} <- cli` between packages, and inside the server
// `api -> sessions -> {runtimes, guest, images, ...} -> lib`.

import { posix } from 'node:path';

/** For each package, the workspace packages that it may import. */
const packageRules: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  sdk: ['protocol'],
  server: ['protocol'],
  cli: ['protocol', 'sdk', 'server'],
  conformance: ['protocol', 'server'],
};

/** The entries of packages beside their first. */
const entries: ReadonlySet<string> = new Set(['@bulkhead/protocol/openapi', '@bulkhead/sdk/node']);

/**
 * For each folder of the server's `src`, the other folders that it may import. A folder that is not listed may import `lib` only.
 * The files beside them put everything together: they may import all, and no folder imports them. Nothing imports `index.ts`, the package's entry.
 */
const folderRules: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  config: ['lib'],
  guest: ['lib'],
  images: ['lib'],
  runtimes: ['guest', 'images', 'snapshots', 'lib'],
  doctor: ['config', 'images', 'placement', 'runtimes', 'lib'],
  placement: ['lib'],
  authority: ['lib'],
  egress: ['lib'],
  tools: ['authority', 'sealing', 'snapshots', 'store', 'lib'],
  sessions: [
    'placement',
    'authority',
    'tools',
    'egress',
    'runtimes',
    'guest',
    'images',
    'snapshots',
    'sealing',
    'store',
    'lib',
  ],
  sealing: ['snapshots', 'lib'],
  tenants: ['store', 'sealing', 'lib'],
  ports: ['sessions', 'guest', 'lib'],
  api: ['sessions', 'authority', 'tenants', 'tools', 'ports', 'guest', 'lib'],
};

export interface ImportedModule {
  readonly specifier: string;
  readonly line: number;
}

/** The modules that a TypeScript source imports, re-exports or loads with a literal `import()`. */
export function findImports(source: string): readonly ImportedModule[] {
  const pattern = /(?:\bfrom|\bimport)\s*\(?\s*(['"])([^'"\n]+)\1/g;
  return [...source.matchAll(pattern)].map((match) => ({
    specifier: match[2] ?? '',
    line: source.slice(0, match.index).split('\n').length,
  }));
}

/** What is wrong with an import, or undefined. `path` is the importing file's, from the root of the checkout. */
export function judgeImport(path: string, specifier: string): string | undefined {
  const [top, importer, source, ...rest] = path.split('/');
  if (top !== 'packages' || importer === undefined || source !== 'src') return undefined;
  if (specifier.startsWith('@bulkhead/')) {
    const [, imported = '', ...subpath] = specifier.split('/');
    if (subpath.length > 0 && !entries.has(specifier)) return `reaches into ${imported} past its entry`;
    return packageRules[importer]?.includes(imported) === true ? undefined : `${importer} must not import ${imported}`;
  }
  if (!specifier.startsWith('.')) return undefined;
  const target = posix.join(posix.dirname(path), specifier);
  if (!target.startsWith(`packages/${importer}/src/`)) return 'leaves its own package by a relative path';
  if (importer !== 'server') return undefined;
  return judgeServerImport(rest, target.split('/').slice(3));
}

function judgeServerImport(from: readonly string[], to: readonly string[]): string | undefined {
  if (to.length === 1 && (from.length > 1 || to[0] === 'index.ts'))
    return `imports ${to[0]}, where all is put together`;
  if (from.length === 1) return undefined;
  const [fromFolder = '', fromPart = ''] = from;
  const [toFolder = '', toPart = ''] = to;
  if (fromFolder === toFolder) {
    const crossesRuntimes = fromFolder === 'runtimes' && to.length > 2 && from.length > 2 && fromPart !== toPart;
    return crossesRuntimes ? `runtime ${fromPart} must not import runtime ${toPart}` : undefined;
  }
  if (!(folderRules[fromFolder] ?? ['lib']).includes(toFolder)) return `${fromFolder} must not import ${toFolder}`;
  // The doctor tries what a runtime would do, with the runtime's own code.
  if (toFolder === 'runtimes' && to.length > 2 && fromFolder !== 'doctor')
    return `${fromFolder} must not know the runtime ${toPart}`;
  return undefined;
}
