// Keys of a session's own, by AssumeRole of STS: tagged with whose they are, bound by a policy of what the session was granted, and short. They are
// used again for as long as they last, in the same session, for the same operations; a session that has ended or sleeps leaves none behind.

import { createHash } from 'node:crypto';
import { AssumeRoleCommand, STSClient, type STSClientConfig } from '@aws-sdk/client-sts';
import { BulkheadError, type SessionId } from '@bulkhead/protocol';
import type { Clock } from '../../lib/clock.ts';
import type { AwsKeySource, AwsKeys, KeyHolder } from './aws-keys.ts';

export interface AssumedRoleOptions {
  readonly roleArn: string;
  readonly durationSeconds: number;
  readonly region: string;
  readonly endpoint?: string;
  readonly externalId?: () => Promise<string>;
  /** Who assumes the role; without it, whom the host is in AWS. */
  readonly identity?: () => Promise<AwsKeys>;
  /** The policy for a holder. */
  readonly policyOf: (holder: KeyHolder) => string;
  readonly clock: Clock;
}

interface Made {
  readonly session: SessionId;
  readonly keys: Promise<AwsKeys>;
}

/** A role that assumes another: STS gives no more, however long the second may last. */
const chainedMaxSeconds = 3600;
const requestTimeoutMs = 10_000;
/** Ends a little early for us: clocks differ, and requests take time. */
const marginMs = 30_000;
const madeMaxCount = 10_000;

export class AssumedRole implements AwsKeySource {
  readonly #options: AssumedRoleOptions;
  /** In the order of their making. */
  readonly #made = new Map<string, Made>();

  constructor(options: AssumedRoleOptions) {
    this.#options = options;
  }

  async keysFor(holder: KeyHolder, validForMs: number): Promise<AwsKeys> {
    const policy = this.#options.policyOf(holder);
    const name = `${holder.tenant} ${holder.session} ${holder.subject} ${policy}`;
    const current = this.#made.get(name);
    const known = await current?.keys.catch(() => undefined);
    if (known !== undefined && this.#lasts(known, validForMs)) return known;
    // Somebody else may have begun to make new ones meanwhile.
    const newer = this.#made.get(name);
    if (newer !== undefined && newer !== current) return await newer.keys;
    return await this.#begin(name, holder, policy);
  }

  forget(session: SessionId): void {
    for (const [name, made] of this.#made) if (made.session === session) this.#made.delete(name);
  }

  #lasts({ expiresAtUnixMs = Infinity }: AwsKeys, validForMs: number): boolean {
    // Who wants more than half of what they last at all does not get new ones each time.
    const wantedMs = Math.min(validForMs + marginMs, this.#options.durationSeconds * 500);
    return expiresAtUnixMs - this.#options.clock.unixMs() >= wantedMs;
  }

  #begin(name: string, holder: KeyHolder, policy: string): Promise<AwsKeys> {
    const keys = this.#assume(holder, policy);
    const made: Made = { session: holder.session, keys };
    this.#made.delete(name);
    this.#made.set(name, made);
    keys.catch(() => {
      if (this.#made.get(name) === made) this.#made.delete(name);
    });
    const [oldest] = this.#made.keys();
    if (this.#made.size > madeMaxCount && oldest !== undefined) this.#made.delete(oldest);
    return keys;
  }

  async #assume({ tenant, session, subject }: KeyHolder, policy: string): Promise<AwsKeys> {
    const { roleArn, durationSeconds, region, endpoint, externalId, identity } = this.#options;
    const config: STSClientConfig = { region, maxAttempts: 2, ...(endpoint === undefined ? {} : { endpoint }) };
    if (identity !== undefined) config.credentials = await identity();
    const client = new STSClient(config);
    try {
      const { sessionToken } = await client.config.credentials();
      const seconds = sessionToken === undefined ? durationSeconds : Math.min(durationSeconds, chainedMaxSeconds);
      const command = new AssumeRoleCommand({
        RoleArn: roleArn,
        RoleSessionName: session,
        DurationSeconds: seconds,
        Policy: policy,
        Tags: [
          { Key: 'tenant', Value: tenant },
          { Key: 'session', Value: session },
          { Key: 'subject', Value: tagValue(subject) },
        ],
        ...(externalId === undefined ? {} : { ExternalId: await externalId() }),
      });
      const { Credentials: given } = await client.send(command, { abortSignal: AbortSignal.timeout(requestTimeoutMs) });
      if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken || !given.Expiration) throw noKeys();
      return {
        accessKeyId: given.AccessKeyId,
        secretAccessKey: given.SecretAccessKey,
        sessionToken: given.SessionToken,
        expiresAtUnixMs: given.Expiration.getTime(),
      };
    } catch (error) {
      throw BulkheadError.is(error) ? error : noKeys(error);
    } finally {
      client.destroy();
    }
  }
}

/** What it says names roles and accounts: that stays on the host. */
function noKeys(cause?: unknown): BulkheadError {
  return new BulkheadError('tool_failed', 'No credentials could be made for the session.', {
    hint: 'An operator can see why: the role, its trust in who assumes it, or its leave to be tagged.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** As it is where a tag can hold it, otherwise by its digest, so that no two subjects have one tag. */
function tagValue(subject: string): string {
  if (/^[A-Za-z0-9 _.:/=+@-]{1,256}$/.test(subject)) return subject;
  return `sha256:${createHash('sha256').update(subject).digest('hex')}`;
}
