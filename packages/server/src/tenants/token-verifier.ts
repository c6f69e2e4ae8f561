// Tokens of an identity provider (OpenID Connect): signed with a key that it publishes, by the issuer, for the audience, in time. Which tenant and subject
// they stand for, and what they may do, is in claims that the operator names.

import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { type Scope, limits, roleNames, roles, scopes } from '@bulkhead/protocol';

export interface OidcOptions {
  readonly issuer: string;
  readonly audience: string;
  readonly jwksUrl: string;
  /** Holds the id or the name of the tenant. A claim's name, or a path to it with dots. */
  readonly tenantClaim: string;
  readonly subjectClaim: string;
  /** Scopes: words in a text, or a list. */
  readonly scopeClaim: string;
  /** Roles: a word, or a list. */
  readonly rolesClaim: string;
  readonly clockToleranceSeconds: number;
}

export interface VerifiedToken {
  /** An id or a name, not looked at yet. */
  readonly tenant: string;
  readonly subject: string;
  readonly scopes: readonly Scope[];
}

/** Signatures that the verifier of a token cannot make itself. */
const algorithms = 'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 Ed25519 EdDSA'.split(' ');
const keysMaxBytes = 1_048_576;
const keysTimeoutMs = 3000;
const keysMaxAgeMs = 600_000;
/** After a fetch, an unknown key is not looked for again for as long. */
const keysCooldownMs = 30_000;
const wordsMaxCount = 256;
const tenantMaxLength = 64;
const subjectPattern = /^[\x21-\x7e]+$/;

export class TokenVerifier {
  readonly #options: OidcOptions;
  #keys: Promise<JWTVerifyGetKey> | undefined;

  constructor(options: OidcOptions) {
    this.#options = options;
  }

  /** Rejects with what is wrong, which is not for the caller. */
  async verify(token: string): Promise<VerifiedToken> {
    const { issuer, audience, tenantClaim, subjectClaim, clockToleranceSeconds } = this.#options;
    const { jwtVerify } = await import('jose');
    this.#keys ??= this.#openKeys();
    const { payload } = await jwtVerify(token, await this.#keys, {
      issuer,
      audience,
      algorithms,
      clockTolerance: clockToleranceSeconds,
      requiredClaims: ['exp'],
    });
    const tenant = claim(payload, tenantClaim);
    const subject = claim(payload, subjectClaim);
    if (typeof tenant !== 'string' || tenant === '' || tenant.length > tenantMaxLength) {
      throw new TypeError(`the claim ${tenantClaim} names no tenant`);
    }
    const isSubject = typeof subject === 'string' && subject.length <= limits.subjectMaxLength;
    if (!isSubject || !subjectPattern.test(subject)) throw new TypeError(`the claim ${subjectClaim} is no subject`);
    return { tenant, subject, scopes: this.#scopes(payload) };
  }

  /** What is not ours is passed over. Who administers the installation has a key of it: no provider makes one. */
  #scopes(payload: JWTPayload): readonly Scope[] {
    const { scopeClaim, rolesClaim } = this.#options;
    const named = words(claim(payload, rolesClaim));
    const granted = new Set<string>(words(claim(payload, scopeClaim)));
    for (const role of roleNames) if (named.includes(role)) for (const scope of roles[role]) granted.add(scope);
    granted.delete('installation:admin');
    return scopes.filter((scope) => granted.has(scope));
  }

  async #openKeys(): Promise<JWTVerifyGetKey> {
    const { createRemoteJWKSet, customFetch } = await import('jose');
    return createRemoteJWKSet(new URL(this.#options.jwksUrl), {
      timeoutDuration: keysTimeoutMs,
      cooldownDuration: keysCooldownMs,
      cacheMaxAge: keysMaxAgeMs,
      [customFetch]: fetchBounded,
    });
  }
}

async function fetchBounded(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, options);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > keysMaxBytes) throw new RangeError('the key set of the identity provider is too long');
    chunks.push(chunk);
  }
  return new Response(Buffer.concat(chunks), { status: response.status });
}

/** A member of that name, or one that a path with dots leads to. */
function claim(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let found: unknown = payload;
  for (const part of name.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, part)) return undefined;
    found = Reflect.get(found, part);
  }
  return found;
}

function words(value: unknown): readonly string[] {
  const all: readonly unknown[] =
    typeof value === 'string' ? value.split(' ', wordsMaxCount) : Array.isArray(value) ? value : [];
  return all.slice(0, wordsMaxCount).filter((word) => typeof word === 'string');
}
