// AES-256-GCM in place, for what is large. Node's cipher answers each piece with memory that is new, and having the kernel make that takes longer
// than the cipher. What is called here are the functions of the OpenSSL that Node is built with, and that Node's cipher calls itself.

import koffi from 'koffi';

export const keyBytes = 32;
export const nonceBytes = 12;
export const tagBytes = 16;

const openssl = koffi.load(null);
const newContext = openssl.func('void *EVP_CIPHER_CTX_new()');
const freeContext = openssl.func('void EVP_CIPHER_CTX_free(void *context)');
const aes256Gcm = openssl.func('const void *EVP_aes_256_gcm()');
const control = openssl.func('int EVP_CIPHER_CTX_ctrl(void *context, int type, int argument, void *pointer)');
const init = openssl.func(
  'int EVP_CipherInit_ex(void *context, const void *type, void *engine, const void *key, const void *nonce, int seals)',
);
const update = openssl.func(
  'int EVP_CipherUpdate(void *context, void *out, _Out_ int *outLength, void *in, int length)',
);
const final = openssl.func('int EVP_CipherFinal_ex(void *context, void *out, _Out_ int *outLength)');

const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

/** One key, for one direction. The key schedule is erased when it is disposed of. */
export class AesGcm implements Disposable {
  readonly #seals: number;
  readonly #length = [0];
  readonly #rest = Buffer.alloc(tagBytes);
  #context: unknown;

  constructor(key: Uint8Array, direction: 'seal' | 'open') {
    if (key.length !== keyBytes) throw new RangeError(`a key has ${keyBytes} bytes`);
    this.#seals = direction === 'seal' ? 1 : 0;
    this.#context = newContext();
    check(init(this.#context, aes256Gcm(), null, key, null, this.#seals) === 1);
  }

  /** `bytes` are the ciphertext afterwards, and `tag` is filled. A nonce is used once. */
  seal(nonce: Uint8Array, authenticated: Uint8Array, bytes: Uint8Array, tag: Uint8Array): void {
    this.#begin(nonce, authenticated, bytes, tag);
    check(final(this.#context, this.#rest, this.#length) === 1);
    check(control(this.#context, EVP_CTRL_AEAD_GET_TAG, tagBytes, tag) === 1);
  }

  /** `bytes` are the plaintext afterwards. Whether it is what was sealed: otherwise it must not be used. */
  open(nonce: Uint8Array, authenticated: Uint8Array, bytes: Uint8Array, tag: Uint8Array): boolean {
    this.#begin(nonce, authenticated, bytes, tag);
    check(control(this.#context, EVP_CTRL_AEAD_SET_TAG, tagBytes, tag) === 1);
    return final(this.#context, this.#rest, this.#length) === 1;
  }

  #begin(nonce: Uint8Array, authenticated: Uint8Array, bytes: Uint8Array, tag: Uint8Array): void {
    if (nonce.length !== nonceBytes || tag.length !== tagBytes)
      throw new RangeError('a nonce or a tag of another length');
    check(init(this.#context, null, null, null, nonce, this.#seals) === 1);
    check(update(this.#context, null, this.#length, authenticated, authenticated.length) === 1);
    check(update(this.#context, bytes, this.#length, bytes, bytes.length) === 1);
    check(this.#length[0] === bytes.length);
  }

  [Symbol.dispose](): void {
    if (this.#context === undefined) return;
    freeContext(this.#context);
    this.#context = undefined;
  }
}

function check(done: boolean): void {
  if (!done) throw new Error('OpenSSL refused to encrypt or decrypt');
}
