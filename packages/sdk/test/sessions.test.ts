import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type TurnResult, makeId } from '@bulkhead/protocol';
import { Bulkhead, RunResult, chunksOf } from '../src/index.ts';
import { downloadFile, uploadFile } from '../src/node.ts';
import { type TableServer, answered, startTableServer, testKey } from './table-server.ts';
import { TableService, outcome, sessionResource } from './table-service.ts';

interface Setup extends AsyncDisposable {
  readonly server: TableServer;
  readonly service: TableService;
  readonly client: Bulkhead;
}

async function setUp(): Promise<Setup> {
  const service = new TableService();
  const server = await startTableServer(service.handlers);
  const client = new Bulkhead({ url: server.url, apiKey: testKey, wait: async () => undefined });
  return { server, service, client, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const stateOf = (service: TableService, id: string): string | undefined => service.sessions.get(id)?.state;

describe('a session', () => {
  it('is terminated at the end of its block when it was made there, whatever happens in the block', async () => {
    await using setup = await setUp();
    const { service, client } = setup;
    let id = '';
    await assert.rejects(
      (async () => {
        await using session = await client.sessions.create();
        id = session.id;
        assert.equal(stateOf(service, id), 'ready');
        throw new Error('in the middle');
      })(),
      /in the middle/,
    );
    assert.equal(stateOf(service, id), 'terminated');
    const kept = await client.sessions.create();
    const found = await client.sessions.get(kept.id);
    assert.ok(!(Symbol.asyncDispose in found), 'one that was found cannot be taken with `await using`');
  });

  it('that is gone already is no error at the end of its block', async () => {
    await using setup = await setUp();
    await using session = await setup.client.sessions.create();
    setup.service.sessions.delete(session.id);
  });

  it('that came after its caller gave up is terminated; so are forks', async () => {
    const service = new TableService();
    const asked = { createSession: Promise.withResolvers<void>(), forkSession: Promise.withResolvers<void>() };
    const go = Promise.withResolvers<void>();
    let slow = false;
    const later =
      (operation: keyof typeof asked) =>
      async (call: Parameters<NonNullable<typeof service.handlers.createSession>>[0]) => {
        asked[operation].resolve();
        if (slow) await go.promise;
        return await service.handlers[operation]?.(call);
      };
    await using server = await startTableServer({
      ...service.handlers,
      createSession: later('createSession'),
      forkSession: later('forkSession'),
    });
    const client = new Bulkhead({ url: server.url, apiKey: testKey });
    const parent = await client.sessions.create();
    slow = true;
    const stop = new AbortController();
    asked.createSession = Promise.withResolvers();
    const creating = client.sessions.create({}, { signal: stop.signal });
    const forking = parent.fork({ count: 2, signal: stop.signal });
    await Promise.all([asked.createSession.promise, asked.forkSession.promise]);
    stop.abort();
    await assert.rejects(creating, { code: 'cancelled' });
    await assert.rejects(forking, { code: 'cancelled' });
    assert.equal(service.sessions.size, 1);
    go.resolve();
    await client[Symbol.asyncDispose]();
    const states = [...service.sessions.values()].map(({ state }) => state);
    assert.deepEqual(states, ['ready', 'terminated', 'terminated', 'terminated']);
  });

  it('is suspended, resumed, forked, labelled; labels only when nobody else has changed it', async () => {
    await using setup = await setUp();
    const { client } = setup;
    const session = await client.sessions.create({ labels: { team: 'risk' } });
    assert.equal((await session.suspend()).state, 'suspended');
    assert.equal(session.state, 'suspended');
    assert.equal((await session.resume()).state, 'ready');
    const forks = await session.fork({ count: 3 });
    assert.deepEqual(
      forks.map(({ info }) => info.parent),
      [session.id, session.id, session.id],
    );
    const elsewhere = await client.sessions.get(session.id);
    await elsewhere.setLabels({ by: 'elsewhere' });
    await assert.rejects(session.setLabels({ by: 'here' }, { ifUnchanged: true }), { code: 'precondition_failed' });
    await session.refresh();
    assert.deepEqual((await session.setLabels({ by: 'here' }, { ifUnchanged: true })).labels, { by: 'here' });
  });

  it('is not asked for by what is no id, and parts of a path are escaped', async () => {
    await using setup = await setUp();
    await assert.rejects(setup.client.sessions.get('../tenants'), { code: 'invalid_request' });
    assert.equal(setup.server.calls.length, 0);
    const session = await setup.client.sessions.create();
    await assert.rejects(session.checkpoints.delete('../../x'), { code: 'invalid_request' });
    assert.equal(setup.server.calls.length, 1, 'the server read the path as one name, which is none of a checkpoint');
  });
});

describe('a list', () => {
  it('is every item, page by page, or as far as it is read', async () => {
    await using setup = await setUp();
    const { server, service, client } = setup;
    for (let count = 0; count < 7; count += 1) {
      const made = sessionResource();
      service.sessions.set(made.id, made);
    }
    const ids = [...service.sessions.keys()];
    const seen: string[] = [];
    for await (const { id } of client.sessions.list({ limit: 3 })) seen.push(id);
    assert.deepEqual(seen, ids);
    assert.equal(server.calls.length, 3);
    for await (const _session of client.sessions.list({ limit: 3 })) break;
    assert.equal(server.calls.length, 4, 'no page that nobody reads');
    const first = await client.sessions.list({ limit: 3 }).page();
    const second = await client.sessions.list({ limit: 3 }).page(first.nextCursor ?? '');
    assert.deepEqual(
      [...first.items, ...second.items].map(({ id }) => id),
      ids.slice(0, 6),
    );
    assert.equal((await client.sessions.list().all(2)).length, 2);
    const [info] = first.items;
    assert.ok(info !== undefined);
    assert.equal((await client.sessions.open(info).suspend()).state, 'suspended');
  });

  it('that leads to itself ends with an error', async () => {
    await using server = await startTableServer({ listTenants: () => ({ items: [], nextCursor: 'again' }) });
    const { tenants } = new Bulkhead({ url: server.url, apiKey: testKey });
    await assert.rejects(tenants.list().all(), /leads to itself/);
  });
});

describe('the content of files', () => {
  const bytes = randomBytes(300_000);
  const half = bytes.length / 2;
  async function* pieces(): AsyncGenerator<Uint8Array, void, void> {
    yield bytes.subarray(0, half);
    yield bytes.subarray(half);
  }
  const kinds = {
    bytes: () => bytes,
    'an ArrayBuffer': () => new Uint8Array(bytes).buffer,
    'shared memory': () => {
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
      shared.set(bytes);
      return shared;
    },
    'a Blob': () => new Blob([bytes]),
    'a stream': () => ReadableStream.from(pieces()),
    'an iterable': () => pieces(),
  } as const;
  for (const [kind, make] of Object.entries(kinds)) {
    it(`may be ${kind}; its length is stated`, async () => {
      await using setup = await setUp();
      const { server, service, client } = setup;
      const session = await client.sessions.create();
      assert.equal((await session.files.write('a/b c.bin', make())).sizeBytes, bytes.length);
      await session.files.write('sized.bin', make(), { sizeBytes: bytes.length });
      for (const path of ['a/b c.bin', 'sized.bin']) assert.ok(service.files.get(path)?.equals(bytes), path);
      for (const { headers } of server.calls.slice(1)) {
        assert.equal(headers['content-length'], String(bytes.length));
        assert.equal(headers['transfer-encoding'], undefined);
      }
    });
  }

  it('may be text, and nothing', async () => {
    await using setup = await setUp();
    const session = await setup.client.sessions.create();
    await session.files.write('t', 'žluťoučký');
    assert.equal(await session.files.readText('t'), 'žluťoučký');
    await session.files.write('e', pieces(), { sizeBytes: 0 });
    assert.equal((await session.files.read('e')).length, 0);
    await session.files.write('raw', new Uint8Array([0xff, 0xfe]));
    await assert.rejects(session.files.readText('raw'), { code: 'file_error' });
    await assert.rejects(session.files.read('none'), { code: 'file_error' });
  });

  it('is sent again after a cut when it can be read again', async () => {
    await using setup = await setUp();
    const { server, service, client } = setup;
    const session = await client.sessions.create();
    server.fail('writeFile', { kind: 'cut-before' }, { kind: 'cut-before' });
    await session.files.write('x', new Blob([bytes]));
    assert.ok(service.files.get('x')?.equals(bytes));
    server.fail('writeFile', { kind: 'cut-before' });
    await assert.rejects(session.files.write('y', pieces(), { sizeBytes: bytes.length }), {
      code: 'server_unreachable',
    });
    assert.equal(service.files.has('y'), false);
  });

  it('is read as it comes; one that is cut is an error, not a shorter file', async () => {
    await using setup = await setUp();
    const session = await setup.client.sessions.create();
    await session.files.write('x', bytes);
    const read: Uint8Array[] = [];
    for await (const chunk of chunksOf(await session.files.stream('x'))) read.push(chunk);
    assert.ok(Buffer.concat(read).equals(bytes));

    await using cutting = await startTableServer({
      createSession: () => sessionResource(),
      readFile: ({ response }) => {
        response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': '1000' });
        response.write('half', () => response.destroy());
        return answered;
      },
    });
    const short = await new Bulkhead({ url: cutting.url, apiKey: testKey }).sessions.create();
    await assert.rejects(
      (async () => {
        for await (const _chunk of chunksOf(await short.files.stream('x')));
      })(),
      { code: 'server_unreachable' },
    );
  });

  it('goes to and from files of this host, whole or not at all', async () => {
    await using setup = await setUp();
    const { service, client } = setup;
    const folder = await mkdtemp(join(tmpdir(), 'bulkhead-sdk-'));
    try {
      const session = await client.sessions.create();
      await writeFile(join(folder, 'in.bin'), bytes);
      await uploadFile(session, join(folder, 'in.bin'), 'up.bin');
      assert.ok(service.files.get('up.bin')?.equals(bytes));
      assert.equal(await downloadFile(session, 'up.bin', join(folder, 'out.bin')), bytes.length);
      const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
      assert.equal(digest(await readFile(join(folder, 'out.bin'))), digest(bytes));
      await assert.rejects(uploadFile(session, join(folder, 'none'), 'x'), { code: 'invalid_request' });
      const tooMuch = downloadFile(session, 'up.bin', join(folder, 'no.bin'), { maxBytes: 1000 });
      await assert.rejects(tooMuch, { code: 'limit_exceeded' });
      assert.deepEqual((await readdir(folder)).toSorted(), ['in.bin', 'out.bin']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('a finished turn', () => {
  const result = (change: Partial<TurnResult>): RunResult =>
    new RunResult({
      ...outcome,
      sessionId: makeId('session'),
      turnId: makeId('turn'),
      stdout: '',
      stderr: '',
      results: [],
      truncated: { stdoutBytes: 0, stderrBytes: 0, resultBytes: 0 },
      timings: { turnMs: 1, guestMs: 1 },
      ...change,
    });
  const table = { columns: [{ name: 'a', type: 'int64' }], rows: [[1]], totalRows: 1 };

  it('is text, images and tables', () => {
    const turn = result({
      stdout: 'first',
      results: [
        { 'text/plain': '42' },
        { 'image/png': btoa('PNG'), 'text/plain': '<Figure>' },
        { 'application/vnd.bulkhead.table+json': table, 'text/plain': '   a\n0  1' },
        { 'image/svg+xml': '<svg/>' },
        { 'image/png': '!!! not base64 !!!' },
        { 'application/vnd.bulkhead.table+json': { columns: 'none' } },
      ],
    });
    assert.equal(turn.text, 'first\n42\n<Figure>\n   a\n0  1');
    assert.deepEqual(
      turn.images.map(({ mime, bytes: data }) => [mime, new TextDecoder().decode(data)]),
      [
        ['image/png', 'PNG'],
        ['image/svg+xml', '<svg/>'],
      ],
    );
    assert.deepEqual(turn.tables, [table]);
    assert.equal(turn.check(), turn);
  });

  it('that failed is an error when it is checked', () => {
    const exception = { name: 'ValueError', value: 'no', frames: [], traceback: 'Traceback: no' };
    const failed = result({ status: 'error', error: { code: 'turn_failed', message: 'It raised.' }, exception });
    assert.throws(() => failed.check(), { code: 'turn_failed', message: 'It raised.\nTraceback: no' });
  });
});
