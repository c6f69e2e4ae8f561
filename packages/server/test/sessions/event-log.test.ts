import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type TurnOutcome, limits, makeId } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { SteppedClock } from '../../src/runtimes/fake/stepped-clock.ts';
import { EventLog } from '../../src/sessions/event-log.ts';
import { OutputDecoder } from '../../src/sessions/output-decoder.ts';
import { collect } from './harness.ts';

const outcome: TurnOutcome = { status: 'ok', error: null, exception: null, context: 'kept', guestMs: 0, turnMs: 0 };
const none = { stdout: 0, stderr: 0, events: 0 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('OutputDecoder', () => {
  it('gives the same text however the bytes are cut', () => {
    const mixed = fc.array(fc.oneof(fc.string({ unit: 'grapheme' }).map(bytes), fc.uint8Array({ maxLength: 6 })));
    fc.assert(
      fc.property(mixed, fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), (parts, cuts) => {
        const all = Buffer.concat(parts);
        const decoder = new OutputDecoder();
        let text = '';
        for (let at = 0, n = 0; at < all.length; n += 1) {
          const size = cuts[n % cuts.length] ?? 1;
          text += decoder.decode(all.subarray(at, at + size));
          at += size;
        }
        assert.equal(text + decoder.end(), new TextDecoder('utf-8', { ignoreBOM: true }).decode(all));
      }),
    );
  });
});

describe('EventLog', () => {
  it('shows the first chunk at once and joins those that follow closely', async () => {
    const clock = new SteppedClock();
    const log = new EventLog(clock, limits);
    log.appendOutput('stdout', bytes('a'));
    log.appendOutput('stdout', bytes('b'));
    log.appendOutput('stdout', bytes('c'));
    await clock.advance(20);
    log.close(outcome, none);
    log.end(outcome);
    const texts = (await collect(log.read())).flatMap((event) => (event.type === 'stdout' ? [event.text] : []));
    assert.deepEqual(texts, ['a', 'bc']);
    assert.equal(clock.pendingTimers, 0);
  });

  it('keeps the order between streams and results', async () => {
    const log = new EventLog(new SteppedClock(), limits);
    log.appendOutput('stdout', bytes('1'));
    log.appendOutput('stderr', bytes('2'));
    log.appendOutput('stdout', bytes('3'));
    log.appendResult('result', {}, 2);
    log.appendOutput('stdout', bytes('4'));
    log.close(outcome, none);
    log.end(outcome);
    assert.deepEqual(
      (await collect(log.read())).map((event) => ('text' in event ? event.text : event.type)),
      ['1', '2', '3', 'result', '4', 'end'],
    );
  });

  it('never exceeds a bound, whatever comes, and accounts for every byte', async () => {
    const bounds = {
      turnOutputMaxBytes: 100,
      resultMaxBytes: 50,
      turnResultsMaxBytes: 80,
      turnResultsMaxCount: 3,
      turnEventsMaxCount: 16,
    };
    const act = fc.oneof(
      fc.record({ to: fc.constantFrom('stdout' as const, 'stderr' as const), bytes: fc.uint8Array({ maxLength: 40 }) }),
      fc.record({ to: fc.constant('result' as const), size: fc.integer({ min: 2, max: 60 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const log = new EventLog(new SteppedClock(), bounds);
        const sent = { stdout: 0, stderr: 0, results: 0 };
        for (const item of acts) {
          if (item.to === 'result') {
            log.appendResult('result', {}, item.size);
            sent.results += item.size;
          } else {
            // ASCII, so that kept characters are kept bytes.
            const ascii = item.bytes.map((byte) => byte & 0x7f);
            log.appendOutput(item.to, ascii);
            sent[item.to] += ascii.length;
          }
        }
        log.close(outcome, none);
        log.end(outcome);
        const events = await collect(log.read());
        assert.ok(events.length <= bounds.turnEventsMaxCount);
        events.forEach((event, index) => assert.equal(event.seq, index + 1));
        assert.equal(events.at(-1)?.type, 'end');
        const kept = { stdout: 0, stderr: 0 };
        const dropped = { stdout: 0, stderr: 0, results: 0, events: 0 };
        for (const event of events) {
          if (event.type === 'stdout' || event.type === 'stderr') kept[event.type] += event.text.length;
          if (event.type === 'truncated') dropped[event.stream] += event.droppedBytes;
        }
        assert.ok(kept.stdout + kept.stderr <= bounds.turnOutputMaxBytes);
        assert.equal(kept.stdout + dropped.stdout, sent.stdout);
        assert.equal(kept.stderr + dropped.stderr, sent.stderr);
        assert.ok(events.filter((event) => event.type === 'result').length <= bounds.turnResultsMaxCount);
      }),
    );
  });

  it('cuts no character in half at its bound', async () => {
    const log = new EventLog(new SteppedClock(), { ...limits, turnOutputMaxBytes: 4 });
    log.appendOutput('stdout', bytes('€€'));
    log.close(outcome, none);
    log.end(outcome);
    const events = await collect(log.read());
    assert.deepEqual(
      events.map((event) =>
        'text' in event ? event.text : event.type === 'truncated' ? event.droppedBytes : event.type,
      ),
      ['€', 3, 'end'],
    );
  });

  it('keeps a long trickle within the count of events', async () => {
    const clock = new SteppedClock();
    const log = new EventLog(clock, { ...limits, turnEventsMaxCount: 4096 });
    for (let n = 0; n < 20_000; n += 1) log.appendOutput('stdout', bytes('line\n'));
    log.close(outcome, none);
    log.end(outcome);
    const events = await collect(log.read());
    assert.ok(events.length < 10, `${events.length} events`);
    assert.equal(log.fold(makeId('session'), makeId('turn')).stdout.length, 100_000);
  });

  it('lets a reader go when its signal is aborted', async () => {
    const log = new EventLog(new SteppedClock(), limits);
    const controller = new AbortController();
    const reading = collect(log.read(0, { signal: controller.signal }));
    controller.abort();
    assert.deepEqual(await reading, []);
  });
});
