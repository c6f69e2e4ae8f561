// The packages that are published: the protocol and the SDK. Inside this checkout they run from their sources; what is published has JavaScript and types,
// because Node strips no types below node_modules. Everything else about a package is taken from its own manifest.

import { execFileSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, { readonly 'bulkhead-source': string }>>;
  readonly [member: string]: unknown;
}

interface Published {
  readonly folder: string;
  /** Sources that need Node; all others are checked without its types. */
  readonly nodeOnly: readonly string[];
  readonly description: string;
}

const published: readonly Published[] = [
  {
    folder: 'protocol',
    nodeOnly: [],
    description: 'The contract of the Bulkhead API as data: routes, schemas, error catalogue, ids, limits.',
  },
  {
    folder: 'sdk',
    nodeOnly: ['node.ts'],
    description:
      'The client of Bulkhead: run code that nobody has reviewed, each session in a virtual machine of its own.',
  },
];

const root = resolve(import.meta.dirname, '..');
const out = resolve(root, process.argv[2] ?? join('out', 'packages'));
if (relative(root, out).startsWith('..'))
  throw new Error(`${out} is outside of the checkout, where no dependency is found`);

function compile(name: string, { folder, nodeOnly }: Published, withNode: boolean): void {
  const config = join(out, `tsconfig.${folder}.${name}.json`);
  const source = join(root, 'packages', folder, 'src');
  const settings = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: !withNode,
      allowImportingTsExtensions: !withNode,
      rewriteRelativeImportExtensions: withNode,
      declaration: true,
      // What browsers of the last years and Node 22 have.
      target: 'es2022',
      lib: ['es2024', 'esnext.disposable', 'dom', 'dom.iterable', 'dom.asynciterable'],
      types: withNode ? ['node'] : [],
      customConditions: [],
      paths: { '@bulkhead/protocol': [join(out, 'protocol', 'dist', 'index.d.ts')] },
      rootDir: source,
      outDir: join(out, folder, 'dist'),
    },
    include: [source],
    exclude: withNode ? [] : nodeOnly.map((file) => join(source, file)),
  };
  writeFileSync(config, JSON.stringify(settings, null, 2));
  execFileSync(join(root, 'node_modules', '.bin', 'tsc'), ['--project', config], { stdio: 'inherit' });
  rmSync(config);
}

/** The compiler leaves the extensions of what types import as they are in the sources. */
function rewriteTypes(folder: string): void {
  for (const path of globSync(join(out, folder, 'dist', '**', '*.d.ts'))) {
    const types = readFileSync(path, 'utf8');
    writeFileSync(path, types.replaceAll(/(['"])(\.{1,2}\/[^'"\n]+)\.ts\1/g, '$1$2.js$1'));
  }
}

function builtEntry({ 'bulkhead-source': source }: { readonly 'bulkhead-source': string }): unknown {
  const built = source.replace('./src/', './dist/').replace(/\.ts$/, '');
  return { types: `${built}.d.ts`, default: `${built}.js` };
}

function writeManifest({ folder, description }: Published): void {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- our own manifests have what ours have
  const { private: _private, ...own } = JSON.parse(
    readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8'),
  ) as Manifest;
  const manifest = {
    ...own,
    description,
    exports: Object.fromEntries(Object.entries(own.exports).map(([name, value]) => [name, builtEntry(value)])),
    files: ['dist'],
    sideEffects: false,
    engines: { node: '>=22' },
  };
  writeFileSync(join(out, folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const part of published) {
  const { folder } = part;
  compile('browser', part, false);
  compile('build', part, true);
  rewriteTypes(folder);
  writeManifest(part);
  cpSync(join(root, 'LICENSE'), join(out, folder, 'LICENSE'));
  cpSync(join(root, 'packages', folder, 'README.md'), join(out, folder, 'README.md'));
  const pack = ['pack', '--silent', '--pack-destination', out];
  const tarball = execFileSync('npm', pack, { cwd: join(out, folder), encoding: 'utf8' }).trim();
  process.stdout.write(`${relative(root, join(out, tarball))}\n`);
}
