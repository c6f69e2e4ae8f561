// The cipher in place is the one that everyone has: what it seals Node's opens, and the other way round.

import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { AesGcm } from '../../src/lib/aes-gcm.ts';

const key = randomBytes(32);
const lengths = [1, 15, 16, 17, 4096, 65_536, 1_048_576];

function sealed(length: number): {
  readonly nonce: Buffer;
  readonly head: Buffer;
  readonly plain: Buffer;
  readonly bytes: Buffer;
  readonly tag: Buffer;
} {
  using cipher = new AesGcm(key, 'seal');
  const [nonce, head, plain, tag] = [randomBytes(12), randomBytes(5), randomBytes(length), Buffer.alloc(16)];
  const bytes = Buffer.from(plain);
  cipher.seal(nonce, head, bytes, tag);
  return { nonce, head, plain, bytes, tag };
}

test("what it seals is what Node's cipher makes of it", () => {
  for (const length of lengths) {
    const { nonce, head, plain, bytes, tag } = sealed(length);
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(head);
    assert.deepEqual(bytes, Buffer.concat([cipher.update(plain), cipher.final()]));
    assert.deepEqual(tag, cipher.getAuthTag());
    const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(head).setAuthTag(tag);
    assert.deepEqual(Buffer.concat([decipher.update(bytes), decipher.final()]), plain);
  }
});

test('one cipher for many pieces, in a part of a larger memory', () => {
  using sealer = new AesGcm(key, 'seal');
  using opener = new AesGcm(key, 'open');
  const memory = Buffer.alloc(4 * 1000, 'some text');
  const before = Buffer.from(memory);
  const tags = [0, 1, 2, 3].map((index) => {
    const tag = Buffer.alloc(16);
    sealer.seal(Buffer.alloc(12, index), Buffer.from('head'), memory.subarray(index * 1000, index * 1000 + 990), tag);
    return tag;
  });
  assert.notDeepEqual(memory, before);
  for (const [index, tag] of tags.entries()) {
    const [start, end] = [index * 1000, index * 1000 + 990];
    assert.deepEqual(memory.subarray(end, end + 10), before.subarray(end, end + 10), 'no byte more');
    assert.equal(opener.open(Buffer.alloc(12, index), Buffer.from('head'), memory.subarray(start, end), tag), true);
  }
  assert.deepEqual(memory, before);
});

test('a changed piece, head, nonce or tag, and another key, are told', () => {
  const flip = (bytes: Buffer, at: number): Buffer => {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    return changed;
  };
  const { nonce, head, bytes, tag } = sealed(1000);
  using opener = new AesGcm(key, 'open');
  using other = new AesGcm(randomBytes(32), 'open');
  assert.equal(opener.open(nonce, head, flip(bytes, 999), tag), false);
  assert.equal(opener.open(nonce, flip(head, 0), Buffer.from(bytes), tag), false);
  assert.equal(opener.open(flip(nonce, 3), head, Buffer.from(bytes), tag), false);
  assert.equal(opener.open(nonce, head, Buffer.from(bytes), flip(tag, 15)), false);
  assert.equal(other.open(nonce, head, Buffer.from(bytes), tag), false);
  assert.equal(opener.open(nonce, head, Buffer.from(bytes), tag), true, 'the control, with the same cipher');
  assert.throws(() => new AesGcm(key.subarray(1), 'open'), RangeError);
  assert.throws(() => opener.open(nonce.subarray(1), head, Buffer.from(bytes), tag), RangeError);
  assert.throws(() => opener.open(nonce, head, Buffer.from(bytes), tag.subarray(1)), RangeError);
});
