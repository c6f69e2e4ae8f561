// What is published, as whoever installs it has it: tarballs in an empty project outside of this checkout, plain Node, a strict compiler, a browser.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { startService } from '../../packages/server/test/api/harness.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');

describe('what is published', { timeout: 300_000 }, () => {
  const built = join(root, 'out', `packed-${process.pid}`);
  let project = '';

  before(
    async () => {
      project = mkdtempSync(join(tmpdir(), 'bulkhead-packed-'));
      const { stdout } = await run(join(root, 'script', 'build-packages'), [relative(root, built)], { cwd: root });
      const tarballs = stdout.trim().split('\n');
      assert.equal(tarballs.length, 2);
      writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
      const paths = tarballs.map((path) => join(root, path));
      // What they depend on is what this checkout has: the test is of what is packed, not of a registry.
      const dependency = join(root, 'node_modules', 'zod');
      const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--offline', '--install-links'];
      await run('npm', ['install', ...quiet, dependency, ...paths], { cwd: project });
    },
    { timeout: 240_000 },
  );
  after(() => {
    for (const folder of [project, built]) rmSync(folder, { recursive: true, force: true });
  });

  it('works in plain Node, with files of the host', async () => {
    await using service = await startService();
    writeFileSync(
      join(project, 'use.js'),
      `import { Bulkhead, BulkheadError } from '@bulkhead/sdk';
      import { uploadFile } from '@bulkhead/sdk/node';
      import { errorCatalogue } from '@bulkhead/protocol';
      const client = new Bulkhead({ url: process.argv[2], apiKey: process.argv[3] });
      const session = await client.sessions.create();
      const { text } = await session.run('print(6*7)');
      await uploadFile(session, 'use.js', 'use.js');
      const uploaded = (await session.files.readText('use.js')).includes('uploadFile');
      const refused = await session.files.read('none').catch((error) => BulkheadError.is(error, 'file_error'));
      await session.terminate();
      console.log(JSON.stringify({ text, uploaded, refused, state: session.state, status: errorCatalogue.not_found.status }));`,
    );
    const { stdout } = await run(process.execPath, ['use.js', service.url, service.admin.secret], { cwd: project });
    assert.deepEqual(JSON.parse(stdout), {
      text: '42\n',
      uploaded: true,
      refused: true,
      state: 'terminated',
      status: 404,
    });
  });

  it('has types that a strict compiler takes, without those of Node', async () => {
    writeFileSync(
      join(project, 'use.ts'),
      `import { Bulkhead, type RunResult, type TurnEvent } from '@bulkhead/sdk';
      const client = new Bulkhead({ url: 'http://127.0.0.1', apiKey: 'k' });
      export async function use(): Promise<string> {
        await using session = await client.sessions.create({ size: 'small', labels: { a: 'b' } });
        const events: TurnEvent[] = [];
        for await (const event of session.stream('1')) events.push(event);
        const result: RunResult = await session.run('1', { language: 'python', signal: AbortSignal.timeout(1) });
        // @ts-expect-error -- there is no such size
        await client.sessions.create({ size: 'gigantic' });
        // @ts-expect-error -- a session that was found is not terminated by its block
        await using found = await client.sessions.get(session.id);
        return result.tables[0]?.columns[0]?.name ?? found.id;
      }`,
    );
    const lib = ['es2024', 'esnext.disposable', 'dom', 'dom.iterable', 'dom.asynciterable'];
    const compilerOptions = { strict: true, noEmit: true, module: 'nodenext', target: 'esnext', lib, types: [] };
    const settings = { compilerOptions: { ...compilerOptions, exactOptionalPropertyTypes: true }, files: ['use.ts'] };
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(settings));
    const failed = await run(join(root, 'node_modules', '.bin', 'tsc'), ['--project', project], { cwd: project }).then(
      () => '',
      ({ stdout }: { readonly stdout: string }) => stdout,
    );
    assert.equal(failed, '');
  });

  it('reaches nothing of Node from its root entry, so that a browser can load it', () => {
    const require = createRequire(pathToFileURL(join(project, 'package.json')));
    const seen = new Set<string>();
    const waiting = [entryOf('@bulkhead/sdk')];
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      if (seen.has(path)) continue;
      seen.add(path);
      const source = readFileSync(path, 'utf8');
      if (path.includes('@bulkhead')) {
        const code = source.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').replaceAll(/(["'`])(?:\\.|(?!\1).)*\1/g, '""');
        assert.doesNotMatch(
          code,
          /(?<![.#\w])(?:(?:process|global)\s*[.[]|Buffer\s*[.(]|require\s*\(|__dirname)/,
          path,
        );
      }
      for (const [, specifier = ''] of source.matchAll(
        /(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s*["']([^"'\n]+)["']/g,
      )) {
        assert.ok(!specifier.startsWith('node:'), `${path} imports ${specifier}`);
        waiting.push(specifier.startsWith('.') ? join(path, '..', specifier) : entryOf(specifier));
      }
    }
    const ours = [...seen].filter((path) => path.includes(join('@bulkhead', 'sdk')));
    assert.ok(ours.length > 20, 'the walk sees the SDK');
    assert.ok(
      [...seen].some((path) => path.includes('zod')),
      'and what it depends on',
    );

    function entryOf(name: string): string {
      const [scope = '', part = ''] = name.split('/');
      const folder = join(project, 'node_modules', scope.startsWith('@') ? join(scope, part) : scope);
      const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
        readonly exports: Readonly<Record<string, { readonly default?: string; readonly import?: string }>>;
      };
      const entry = exports['.'];
      return entry === undefined ? require.resolve(name) : join(folder, entry.import ?? entry.default ?? '');
    }
  });
});
