import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { assert as checkAll, constantFrom, nat, property, string } from 'fast-check';
import { makeSecret, parseSecret, sameHash } from '../../src/tenants/key-secret.ts';

test('a secret names its key, and a typing error is seen without asking anybody', () => {
  const id = makeId('key');
  const { secret, hash } = makeSecret(id);
  const parsed = parseSecret(secret);
  assert.equal(parsed?.id, id);
  assert.ok(parsed !== undefined && sameHash(parsed.hash, hash));
  assert.ok(!sameHash(hash, makeSecret(id).hash));
  const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_';
  checkAll(
    property(nat(secret.length - 1), constantFrom(...alphabet.split('')), (at, letter) => {
      const typo = secret.slice(0, at) + letter + secret.slice(at + 1);
      assert.equal(parseSecret(typo) === undefined, typo !== secret);
    }),
  );
  checkAll(property(string(), (text) => assert.equal(parseSecret(text), undefined)));
});
