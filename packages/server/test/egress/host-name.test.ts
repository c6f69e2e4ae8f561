import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { toolSettingsSchema } from '@bulkhead/protocol';
import { isCovered, parseAuthority, parseHostName } from '../../src/egress/host-name.ts';

test('a name has one form, and what a resolver would read as an address is none', () => {
  assert.equal(parseHostName('a.example.com'), 'a.example.com');
  assert.equal(parseHostName('A.Example.COM'), 'a.example.com');
  assert.equal(parseHostName('xn--bcher-kva.example'), 'xn--bcher-kva.example');
  const refused = [
    '',
    'localhost',
    'example.com.',
    '.example.com',
    'a..example.com',
    '-a.example.com',
    'a-.example.com',
    'a_b.example.com',
    'a b.example.com',
    'bücher.example',
    'ｅxample.com',
    'example。com',
    '\u212a.example.com',
    'xn--a.example.com',
    'xn--.example.com',
    'xn--bcher-kva.example\0',
    '*.example.com',
    '127.0.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '127.1',
    '1.2.3',
    'example.0x7f',
    'example.1',
    '[::1]',
    '::1',
    '[::ffff:169.254.169.254]',
    'fe80::1%eth0',
    '169.254.169.254',
    '2852039166',
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    'user@example.com',
    'example.com%00',
    'example.com%2eevil.com',
    `${'a'.repeat(64)}.example.com`,
    `${'a.'.repeat(126)}example`,
  ];
  for (const text of refused) assert.equal(parseHostName(text), undefined, JSON.stringify(text));
});

test('what is a name means the same to a URL, and is no address', () => {
  const piece = fc.constantFrom(
    'a',
    'xn--',
    'bcher-kva',
    '0x7f',
    '127',
    '1',
    '.',
    '.',
    '-',
    '_',
    'B',
    'com',
    '[',
    ':',
    '%',
    '@',
    'ü',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const name = parseHostName(pieces.join(''));
      if (name === undefined) return;
      assert.equal(isIP(name), 0);
      assert.equal(new URL(`http://${name}/`).hostname, name);
    }),
    { numRuns: 5000 },
  );
});

test('a target has a port that is one', () => {
  assert.deepEqual(parseAuthority('a.example.com:443'), { host: 'a.example.com', port: 443 });
  assert.deepEqual(parseAuthority('a.example.com', 80), { host: 'a.example.com', port: 80 });
  for (const text of [
    'a.example.com',
    'a.example.com:',
    'a.example.com:0',
    'a.example.com:080',
    'a.example.com:65536',
  ]) {
    assert.equal(parseAuthority(text), undefined, text);
  }
  for (const text of ['a.example.com:1:2', 'u@a.example.com:443', 'a.example.com:443/', ' a.example.com:443']) {
    assert.equal(parseAuthority(text), undefined, text);
  }
});

test('a wildcard stands for one label, between dots', () => {
  const patterns = ['*.a.com', 'b.org'];
  for (const name of ['x.a.com', 'evil.a.com', 'b.org']) assert.ok(isCovered(name, patterns), name);
  for (const name of [
    'a.com',
    'evil-a.com',
    'x.y.a.com',
    'xa.com',
    'a.com.evil.org',
    'x.b.org',
    'evilb.org',
    'com',
    'x.com',
  ]) {
    assert.ok(!isCovered(name, patterns), name);
  }
});

test('a rule that is empty or malformed is none', () => {
  const rule = { kind: 'egress', description: 'somewhere', hosts: ['a.example.com', '*.example.com'] };
  assert.ok(toolSettingsSchema.safeParse(rule).success);
  const wrong: readonly object[] = [
    { hosts: [] },
    { hosts: ['*'] },
    { hosts: ['*.com'] },
    { hosts: ['**.example.com'] },
    { hosts: ['a.*.example.com'] },
    { hosts: ['A.example.com'] },
    { hosts: ['example.com.'] },
    { hosts: ['10.0.0.1'] },
    { hosts: ['https://a.example.com'] },
    { hosts: ['a.example.com:443'] },
    { port: 0 },
    { port: '443' },
    { scheme: 'ftp' },
    { methods: ['GET'] },
    { scheme: 'http', methods: [] },
    { scheme: 'http', methods: ['CONNECT'] },
    { addresses: ['10.0.0.1'] },
    { addresses: ['10.0.0.0/33'] },
    { addresses: ['everywhere'] },
    { bytesMax: 0 },
    { connectionsMaxCount: 0 },
    { allow: 'all' },
  ];
  for (const change of wrong) {
    assert.ok(!toolSettingsSchema.safeParse({ ...rule, ...change }).success, JSON.stringify(change));
  }
});
