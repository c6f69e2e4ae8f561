import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gate } from '../../src/lib/gate.ts';

const never = new AbortController().signal;

test('a gate lets so many in, the others in the order in which they came', async () => {
  const gate = new Gate(2);
  const order: number[] = [];
  const enter = async (number: number): Promise<Disposable> => {
    const place = await gate.enter(never, 'one');
    order.push(number);
    return place;
  };
  const places = [1, 2, 3, 4].map(enter);
  const [first, second] = await Promise.all(places.slice(0, 2));
  assert.deepEqual(order, [1, 2]);
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  await places[2];
  assert.deepEqual(order, [1, 2, 3], 'a place is given back once');
  second?.[Symbol.dispose]();
  await places[3];
  assert.deepEqual(order, [1, 2, 3, 4]);
});

test('who gives up takes no place', async () => {
  const gate = new Gate(1);
  const place = await gate.enter(never, 'one');
  const stop = new AbortController();
  const waiting = gate.enter(stop.signal, 'one');
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(gate.enter(stop.signal, 'one'), /enough/);
  const next = gate.enter(never, 'one');
  place[Symbol.dispose]();
  await next;
});

test('owners take turns: who has many that wait delays nobody but itself', async () => {
  const gate = new Gate(1);
  const order: string[] = [];
  const pass = async (owner: string, signal = never): Promise<void> => {
    using _place = await gate.enter(signal, owner);
    order.push(owner);
  };
  const first = await gate.enter(never, 'many');
  const stop = new AbortController();
  const passing = [
    ...Array.from({ length: 3 }, () => pass('many')),
    pass('one'),
    ...Array.from({ length: 2 }, () => pass('two')),
  ];
  const gone = assert.rejects(pass('gone', stop.signal), /enough/);
  stop.abort(new Error('enough'));
  await gone;
  first[Symbol.dispose]();
  await Promise.all(passing);
  assert.deepEqual(order, ['many', 'one', 'two', 'many', 'two', 'many']);
});
