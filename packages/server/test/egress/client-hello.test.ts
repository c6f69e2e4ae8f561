import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import * as fc from 'fast-check';
import { readClientHello } from '../../src/egress/client-hello.ts';
import { AnswerWatch, TlsGuard } from '../../src/egress/tls-guard.ts';
import { extension, helloMessage, realHello, records, serverName, vector } from './hellos.ts';

const name = 'files.example.com';
const hello = await realHello({ servername: name });

function isRefused(bytes: Buffer): boolean {
  try {
    readClientHello(bytes);
    return false;
  } catch (error) {
    assert.ok(BulkheadError.is(error, 'egress_blocked'), String(error));
    return true;
  }
}

test('the server that a client of OpenSSL asks for is read, whole and from any pieces', async () => {
  assert.deepEqual(readClientHello(hello), { serverName: name, length: hello.length });
  for (let size = 0; size < hello.length; size++) assert.equal(readClientHello(hello.subarray(0, size)), undefined);
  const more = Buffer.concat([hello, Buffer.from('what follows')]);
  assert.equal(readClientHello(more)?.length, hello.length);
  const message = hello.subarray(5);
  fc.assert(
    fc.property(fc.integer({ min: Math.ceil(message.length / 8), max: message.length + 10 }), (size) => {
      assert.equal(readClientHello(records(message, size))?.serverName, name);
    }),
  );
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    assert.equal(
      readClientHello(await realHello({ servername: 'A.Example.COM', maxVersion }))?.serverName,
      'a.example.com',
    );
  }
});

test('a client that names no server, hides it, or is no TLS client is refused', async () => {
  const fine = serverName(name);
  assert.equal(
    readClientHello(records(helloMessage({ extensions: [fine] })))?.serverName,
    name,
    'what is varied is taken',
  );
  const refused: Readonly<Record<string, Buffer>> = {
    'no server name': await realHello({}),
    'no extensions': records(helloMessage({})),
    'an encrypted hello': records(helloMessage({ extensions: [fine, extension(0xfe0d, Buffer.from([1]))] })),
    'a draft of it': records(helloMessage({ extensions: [extension(0xfe0a, Buffer.alloc(3)), fine] })),
    'an encrypted name': records(helloMessage({ extensions: [fine, extension(0xffce, Buffer.alloc(3))] })),
    'two extensions of one type': records(helloMessage({ extensions: [fine, serverName('evil.example.com')] })),
    'two names': records(
      helloMessage({
        extensions: [
          extension(
            0,
            vector(2, ...[name, 'b.example'].flatMap((each) => [Buffer.from([0]), vector(2, Buffer.from(each))])),
          ),
        ],
      }),
    ),
    'a name of another type': records(helloMessage({ extensions: [serverName(name, 1)] })),
    'an empty name': records(helloMessage({ extensions: [serverName('')] })),
    'a name with a NUL': records(helloMessage({ extensions: [serverName(`${name}\0.evil.example`)] })),
    'an old version': records(helloMessage({ extensions: [fine], version: 0x0300 })),
    'something behind the extensions': records(helloMessage({ extensions: [fine], after: Buffer.from([0]) })),
    'another message in the record': records(
      Buffer.concat([helloMessage({ extensions: [fine] }), Buffer.from([11, 0, 0, 0])]),
    ),
    'more records than there may be': records(helloMessage({ extensions: [fine] }), 8),
    'one that is too long': records(helloMessage({ extensions: [fine, extension(21, Buffer.alloc(20_000))] })),
    'a record of nothing': Buffer.from([22, 3, 1, 0, 0]),
    HTTP: Buffer.from('GET / HTTP/1.1\r\n'),
    'the first byte of SSH': Buffer.from('S'),
    'a SSL 2 hello': Buffer.from([0x80, 0x2e, 1, 3, 1]),
    'an alert': Buffer.from([21, 3, 3, 0, 2, 1, 0]),
    'a ServerHello': Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0]),
  };
  for (const [what, bytes] of Object.entries(refused)) assert.ok(isRefused(bytes), what);
});

test('whatever is sent is refused, waited for, or read as one name that is in it', () => {
  const look = (bytes: Buffer): void => {
    try {
      const read = readClientHello(bytes);
      if (read === undefined) return;
      assert.match(read.serverName, /^[\x21-\x7e]+$/);
      assert.ok(bytes.toString('latin1').toLowerCase().includes(read.serverName.slice(0, 1)));
      assert.ok(read.length <= bytes.length);
    } catch (error) {
      assert.ok(BulkheadError.is(error, 'egress_blocked'), String(error));
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => look(Buffer.from([22, 3, 1, ...bytes]))),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.nat(hello.length - 1), fc.nat(255), fc.nat(hello.length), (at, value, cut) => {
      const changed = Buffer.from(hello);
      changed[at] = value;
      look(changed);
      look(changed.subarray(0, cut));
    }),
    { numRuns: 5000 },
  );
});

const retry = Buffer.concat([
  Buffer.from([22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3]),
  Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex'),
  Buffer.alloc(22),
]);
const answer = Buffer.concat([Buffer.from([22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3]), Buffer.alloc(54, 9)]);
const settled = async (): Promise<void> => await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** What goes through to the server, as the client and the server speak in turns. */
async function converse(
  turns: readonly { readonly client?: Buffer; readonly server?: Buffer }[],
): Promise<Buffer | Error> {
  const guard = new TlsGuard(name);
  const watch = new AnswerWatch(guard);
  const through: Buffer[] = [];
  let failure: Error | undefined;
  guard.on('data', (chunk: Buffer) => through.push(chunk));
  guard.on('error', (error) => (failure = error));
  watch.resume();
  for (const { client, server } of turns) {
    if (client !== undefined) guard.write(client);
    if (server !== undefined) watch.write(server);
    await settled();
  }
  return failure ?? Buffer.concat(through);
}

test('a second ClientHello is looked at like the first, also when it is sent before it was asked for', async () => {
  const [first, rest] = [hello, Buffer.from('encrypted')];
  const other = await realHello({ servername: 'evil.example.com' });
  const changeCipherSpec = Buffer.from([20, 3, 3, 0, 1, 1]);
  const through = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts);

  assert.deepEqual(await converse([{ client: first }, { server: answer }, { client: rest }]), through(first, rest));
  assert.deepEqual(
    await converse([
      { client: first },
      { server: retry },
      { client: through(changeCipherSpec, first) },
      { client: rest },
    ]),
    through(first, changeCipherSpec, first, rest),
  );
  // Nothing behind the first goes on before the server has spoken.
  assert.deepEqual(await converse([{ client: first }, { client: rest }]), first);
  for (const early of [true, false]) {
    const sent = early
      ? [{ client: through(first, changeCipherSpec, other) }, { server: retry }]
      : [{ client: first }, { server: retry }, { client: other }];
    const outcome = await converse(sent);
    assert.ok(BulkheadError.is(outcome, 'egress_blocked'));
  }
  assert.ok(
    BulkheadError.is(await converse([{ client: first }, { server: retry }, { client: rest }]), 'egress_blocked'),
  );
  // An answer in small pieces is put together before it is judged.
  const pieces = Array.from(retry.subarray(0, 50), (byte) => ({ server: Buffer.from([byte]) }));
  assert.ok(BulkheadError.is(await converse([{ client: first }, ...pieces, { client: other }]), 'egress_blocked'));
});
