import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TurnEvent } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { Bulkhead, BulkheadError } from '../src/index.ts';
import { EventParser } from '../src/event-source.ts';
import { type TableServer, answered, startTableServer, testKey } from './table-server.ts';
import { type ServiceOptions, TableService } from './table-service.ts';

interface Setup extends AsyncDisposable {
  readonly server: TableServer;
  readonly service: TableService;
  readonly client: Bulkhead;
  /** How long it would have waited. */
  readonly waits: readonly number[];
}

async function setUp(options: ServiceOptions = {}): Promise<Setup> {
  const service = new TableService(options);
  const server = await startTableServer(service.handlers);
  const waits: number[] = [];
  const wait = async (delayMs: number): Promise<void> => void waits.push(delayMs);
  const client = new Bulkhead({ url: server.url, apiKey: testKey, wait });
  return { server, service, client, waits, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const printed = (texts: readonly string[]): readonly TurnEvent[] =>
  texts.map((text, index) => ({ seq: index + 1, type: index % 3 === 2 ? 'stderr' : 'stdout', text }));

describe('a stream of events', () => {
  it('is the same wherever it is cut into pieces, whatever its line ends are', () => {
    const data = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll(/[\r\n]/g, ''));
    fc.assert(
      fc.property(
        fc.array(fc.array(data, { minLength: 1, maxLength: 3 }), { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
        (events, end, sizes) => {
          const text = events
            .map((lines) => `: alive${end}id: 7${end}${lines.map((line) => `data: ${line}${end}`).join('')}${end}`)
            .join('');
          const parser = new EventParser();
          const seen: string[] = [];
          for (let at = 0; at < text.length;) {
            const size = sizes.next().value ?? 1;
            seen.push(...parser.push(text.slice(at, at + size)));
            at += size;
          }
          assert.deepEqual(
            seen,
            events.map((lines) => lines.join('\n')),
          );
        },
      ),
    );
  });

  it('has an end to how long an event may be', () => {
    const parser = new EventParser();
    const mebibyte = 'x'.repeat(2 ** 20);
    parser.push('data: ');
    assert.throws(
      () => {
        for (let count = 0; count < 200; count += 1) parser.push(mebibyte);
      },
      { code: 'limit_exceeded' },
    );
  });

  it('gives every event exactly once, byte for byte, over connections that are cut anywhere', async () => {
    const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 200 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(
        texts,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 10 }),
        async (lines, cuts) => {
          const events = printed(lines);
          const left = [...cuts];
          await using setup = await setUp({
            script: () => events,
            cutAfter: (text) => {
              const cut = left.shift();
              return cut === undefined ? undefined : Math.floor(cut * Buffer.byteLength(text));
            },
          });
          const { server, service, client } = setup;
          const session = await client.sessions.create();
          const stream = session.stream('go');
          const seen: TurnEvent[] = [];
          for await (const event of stream) seen.push(event);
          assert.deepEqual(seen.slice(0, -1), events);
          assert.deepEqual([seen.at(-1)?.type, seen.at(-1)?.seq], ['end', events.length + 1]);
          const result = await stream.result();
          assert.equal(result.stdout, events.map((event) => (event.type === 'stdout' ? event.text : '')).join(''));
          assert.equal(result.stderr, events.map((event) => (event.type === 'stderr' ? event.text : '')).join(''));
          assert.deepEqual(service.ran, ['go'], 'the code ran once');
          assert.equal(server.calls.filter(({ operation }) => operation === 'startTurn').length, 1);
        },
      ),
      { numRuns: 60, seed: 20_260_101 },
    );
  });

  it('starts the code once though the answer to the start was lost', async () => {
    await using setup = await setUp({ script: () => printed(['42\n']) });
    const { server, service, client } = setup;
    const session = await client.sessions.create();
    server.fail('startTurn', { kind: 'cut-after' }, { kind: 'cut-before' });
    assert.equal((await session.run('print(6*7)')).stdout, '42\n');
    assert.deepEqual(service.ran, ['print(6*7)']);
  });

  it('goes on where it was left, and from any event', async () => {
    await using setup = await setUp({ script: () => printed(['a', 'b', 'c', 'd']) });
    const session = await setup.client.sessions.create();
    const stream = session.stream('go');
    for await (const event of stream) if (event.seq === 2) break;
    assert.equal(stream.lastSeq, 2);
    const rest: number[] = [];
    for await (const event of stream) rest.push(event.seq);
    assert.deepEqual(rest, [3, 4, 5]);

    const followed = session.follow(await stream.turnId, { after: 3 });
    const seen: number[] = [];
    for await (const event of followed) seen.push(event.seq);
    assert.deepEqual(seen, [4, 5]);
    assert.equal((await followed.result()).stdout, 'abd', 'the whole result, though only its end was read');
  });

  it('passes over what a newer server tells', async () => {
    const service = new TableService();
    const events = [
      { seq: 1, type: 'weather', text: 'rain' },
      { seq: 2, type: 'stdout', text: 'x' },
      { seq: 3, type: 'end', outcome: { ...(await import('./table-service.ts')).outcome, mood: 'good' } },
    ];
    await using server = await startTableServer({
      ...service.handlers,
      listTurnEvents: ({ response }) => {
        response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
        response.end(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''));
        return answered;
      },
    });
    const session = await new Bulkhead({ url: server.url, apiKey: testKey }).sessions.create();
    assert.equal((await session.run('go')).stdout, 'x');
  });

  it('fails when it is cut again and again without anything new, or when events are missing', async () => {
    await using setup = await setUp({ script: () => printed(['a']), cutAfter: () => 0 });
    const session = await setup.client.sessions.create();
    await assert.rejects(session.run('go'), { code: 'server_unreachable' });
    assert.ok(setup.waits.length > 5);
    assert.ok(Math.max(...setup.waits) <= 5000);
  });

  it('cancels the code when its signal is aborted; leaving the loop does not', async () => {
    await using setup = await setUp({ script: () => printed(['a', 'b']) });
    const { service, client } = setup;
    const session = await client.sessions.create();
    const left = session.stream('one');
    for await (const _event of left) break;
    assert.deepEqual(service.cancelled, []);

    const stop = new AbortController();
    const stream = session.stream('two', { signal: stop.signal });
    await assert.rejects(
      (async () => {
        for await (const _event of stream) stop.abort();
      })(),
      { code: 'cancelled' },
    );
    await client[Symbol.asyncDispose]();
    assert.deepEqual(service.cancelled, [await stream.turnId]);
    await left.cancel();
    assert.deepEqual(service.cancelled, [await stream.turnId, await left.turnId]);
  });

  it('cancels a turn that began while its caller gave up', async () => {
    const service = new TableService();
    const asked = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await using server = await startTableServer({
      ...service.handlers,
      startTurn: async (call) => {
        asked.resolve();
        await go.promise;
        return await service.handlers.startTurn?.(call);
      },
    });
    const client = new Bulkhead({ url: server.url, apiKey: testKey });
    const session = await client.sessions.create();
    const stop = new AbortController();
    const running = session.run('late', { signal: stop.signal });
    await asked.promise;
    stop.abort();
    await assert.rejects(running, { code: 'cancelled' });
    go.resolve();
    await client[Symbol.asyncDispose]();
    assert.deepEqual(service.cancelled, [...service.turns.keys()]);
    assert.equal(service.cancelled.length, 1);
  });

  it('tells of a turn that is refused, in every way to ask', async () => {
    await using setup = await setUp();
    const session = await setup.client.sessions.create();
    const refused = { kind: 'refuse', code: 'state_conflict' } as const;
    setup.server.fail('startTurn', refused, refused, refused);
    await assert.rejects(session.run('x'), { code: 'state_conflict' });
    const stream = session.stream('x');
    await assert.rejects(stream.turnId, { code: 'state_conflict' });
    await assert.rejects(stream.result(), (error) => BulkheadError.is(error, 'state_conflict'));
    session.stream('nobody looks');
  });
});
