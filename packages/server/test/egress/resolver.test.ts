// Names are asked of a DNS server, here one on loopback.

import assert from 'node:assert/strict';
import { type RemoteInfo, createSocket } from 'node:dgram';
import { test } from 'node:test';
import { dnsResolver } from '../../src/egress/resolver.ts';

const types = { a: 1, aaaa: 28 } as const;
type Zone = Readonly<Record<string, { readonly a?: readonly number[][]; readonly aaaa?: readonly number[][] }>>;

/** Answers from a zone, without a name for anything else; counts what it is asked. */
async function openServer(zone: Zone) {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (query: Buffer, { address, port }: RemoteInfo) => {
    const labels: string[] = [];
    let at = 12;
    for (let size = query[at] ?? 0; size > 0; size = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + size));
      at += 1 + size;
    }
    const question = query.subarray(12, at + 5);
    const name = labels.join('.');
    asked.push(name);
    const entry = zone[name];
    const type = query.readUInt16BE(at + 1);
    const addresses = (type === types.a ? entry?.a : type === types.aaaa ? entry?.aaaa : undefined) ?? [];
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(entry === undefined ? 0x8583 : 0x8580, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(addresses.length, 6);
    const answers = addresses.map((bytes) =>
      Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, bytes.length, ...bytes]),
    );
    socket.send(Buffer.concat([header, question, ...answers]), port, address);
  });
  await new Promise<void>((resolve) => void socket.bind(0, '127.0.0.1', resolve));
  return { asked, address: `127.0.0.1:${socket.address().port}`, [Symbol.dispose]: () => void socket.close() };
}

test('every address of a name is told, of both kinds; a name without any is a failure', async () => {
  using server = await openServer({
    'both.example.com': {
      a: [
        [192, 0, 2, 1],
        [127, 0, 0, 1],
      ],
      aaaa: [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
    },
    'four.example.com': { a: [[192, 0, 2, 2]] },
    'none.example.com': {},
  });
  const resolver = dnsResolver([server.address]);
  assert.deepEqual((await resolver.resolve('both.example.com')).toSorted(), ['127.0.0.1', '192.0.2.1', '2001:db8::1']);
  assert.deepEqual(await resolver.resolve('four.example.com'), ['192.0.2.2']);
  for (const name of ['none.example.com', 'other.example.com']) {
    await assert.rejects(resolver.resolve(name), { code: 'tool_failed' }, name);
  }
  assert.ok(
    server.asked.every((name) => name.endsWith('.example.com') && !name.endsWith('.com.example.com')),
    'nothing is appended',
  );
});

test('a server that does not answer is given up', async () => {
  const silent = createSocket('udp4');
  await new Promise<void>((resolve) => void silent.bind(0, '127.0.0.1', resolve));
  const resolver = dnsResolver([`127.0.0.1:${silent.address().port}`], { timeoutMs: 200 });
  const began = performance.now();
  await assert.rejects(resolver.resolve('a.example.com'), { code: 'tool_failed' });
  assert.ok(performance.now() - began < 5000);
  silent.close();
});
