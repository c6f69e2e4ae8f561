import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domainsOf } from '../../src/authority/domains.ts';

test('a host lies in its domains, an address in none', () => {
  const ids = (host: string): readonly string[] => domainsOf(host).map(({ id }) => id);
  assert.deepEqual(ids('a.b.example.com'), ['a.b.example.com', 'b.example.com', 'example.com', 'com']);
  assert.deepEqual(ids('127.0.0.1'), ['127.0.0.1']);
  assert.deepEqual(ids('[::1]'), ['[::1]']);
});
