import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { makeId, sizeNames, sizes } from '@bulkhead/protocol';
import { machineName, parseMachineName } from '../../src/runtimes/machine-name.ts';
import { agentCommand, bundleConfig, scratchMib } from '../../src/runtimes/gvisor/bundle.ts';
import { ContainerChannel } from '../../src/runtimes/gvisor/container-channel.ts';
import { pruneContainers } from '../../src/runtimes/gvisor/prune.ts';
import { sweepOwned } from '../../src/runtimes/gvisor/root-tree.ts';

describe('the bundle of a container', () => {
  for (const size of sizeNames) {
    it(`${size}: no new privileges, no network of the host, a quota on every place that can be written to`, () => {
      const text = JSON.stringify(bundleConfig({ rootDir: '/root-tree', command: agentCommand(size), size }));
      const config = JSON.parse(text) as {
        process: { noNewPrivileges: boolean; capabilities: Record<string, readonly string[]> };
        mounts: readonly { destination: string; type: string; options?: readonly string[] }[];
        linux: { namespaces: readonly { type: string; path?: string }[] };
      };
      assert.equal(config.process.noNewPrivileges, true);
      assert.ok(!text.includes('CAP_NET') && !text.includes('CAP_SYS_MODULE') && !text.includes('CAP_MKNOD'));
      assert.deepEqual(
        config.mounts.filter(({ type }) => type === 'bind'),
        [],
        'nothing of the host is mounted',
      );
      for (const { destination, type, options } of config.mounts) {
        if (type === 'tmpfs')
          assert.ok(
            options?.some((option) => /^size=\d+m$/.test(option)),
            destination,
          );
      }
      assert.ok(config.linux.namespaces.some(({ type, path }) => type === 'network' && path === undefined));
      assert.ok(scratchMib(size) <= sizes[size].memoryMib);
    });
  }
});

describe('the name of a machine', () => {
  it('says whose it is in both forms, and is short enough for a path', () => {
    const record = { id: makeId('machine'), session: makeId('session'), tenant: makeId('tenant') };
    for (const form of ['vmm', 'container'] as const) {
      const name = machineName(record, form);
      assert.ok(name.length < 200);
      assert.deepEqual(parseMachineName(name), { form, ...record, owned: true });
      const nobodys = machineName({ id: record.id, session: null, tenant: null }, form);
      assert.deepEqual(parseMachineName(nobodys), { form, id: record.id, session: null, tenant: null, owned: true });
    }
    assert.equal(parseMachineName('bulkhead.mch_x.-.-.1-2'), undefined);
  });
});

describe('the channel of a container', () => {
  const ends = (): { readonly input: PassThrough; readonly output: PassThrough } => ({
    input: new PassThrough(),
    output: new PassThrough(),
  });

  it('stays the same while the container behind it is replaced', async () => {
    const [first, second] = [ends(), ends()];
    const channel = new ContainerChannel(first);
    let read = '';
    let ended = false;
    channel.on('data', (chunk: Buffer) => (read += chunk.toString()));
    channel.on('end', () => (ended = true));
    first.output.write('one ');
    await new Promise(setImmediate);
    channel.detach();
    first.output.end();
    channel.write('for the second');
    await new Promise(setImmediate);
    assert.equal(ended, false, 'the end of the first is not the end of the channel');
    channel.attach(second);
    second.output.write('two');
    await new Promise(setImmediate);
    assert.deepEqual([read, String(second.input.read())], ['one two', 'for the second']);
    second.output.end();
    await new Promise((resolve) => channel.once('end', resolve));
  });

  it('goes on with a container that was not ended after all', async () => {
    const only = ends();
    const channel = new ContainerChannel(only);
    channel.detach();
    channel.write('waits');
    channel.reattach();
    await new Promise(setImmediate);
    assert.equal(String(only.input.read()), 'waits');
    channel.destroy();
    assert.ok(only.input.destroyed && only.output.destroyed);
  });
});

describe('what containers leave on the disk', () => {
  it('goes with its image, and what dead makers left goes with the sweep', async () => {
    const cacheDir = await mkdtemp(join(tmpdir(), 'bulkhead-test-'));
    try {
      const place = async (...path: readonly string[]): Promise<string> => {
        const directory = join(cacheDir, ...path);
        await mkdir(directory, { recursive: true });
        return directory;
      };
      const [kept, old] = [await place('container-roots', 'kept-1'), await place('container-roots', 'old-1')];
      for (const image of ['kept', 'old']) {
        await writeFile(join(await place('container-templates', image), 'template.json'), JSON.stringify({ image }));
      }
      const removed = await pruneContainers(cacheDir, new Set(['kept']));
      assert.ok(removed.some(({ kind, name }) => kind === 'container-template' && name === 'old'));
      assert.ok(existsSync(kept) && existsSync(join(cacheDir, 'container-templates', 'kept')));
      // Roots stay while a container of whomever runs on this host.
      assert.equal(existsSync(old), !removed.some(({ kind }) => kind === 'container-root'));
      await place('container-roots', '.1-1.abcd');
      const pattern = /^\.(\d+-\d+)\.[0-9a-f]+$/;
      assert.equal((await sweepOwned(join(cacheDir, 'container-roots'), pattern)).length, 1);
    } finally {
      await rm(cacheDir, { recursive: true });
    }
  });
});
