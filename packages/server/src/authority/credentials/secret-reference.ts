// A secret may be kept in AWS Secrets Manager: what is kept here is then its ARN, and whoever asks for the secret gets what it stands for. The host reads
// it with its own identity in AWS, which only who administers the installation can have it do.

import type { GetSecretValueCommandOutput, SecretsManagerClientConfig } from '@aws-sdk/client-secrets-manager';
import { BulkheadError, limits } from '@bulkhead/protocol';
import type { Clock } from '../../lib/clock.ts';
import { ShortMemory } from '../../lib/short-memory.ts';

const referencePattern =
  /^(arn:aws[a-z-]{0,20}:secretsmanager:([a-z0-9-]{1,32}):\d{12}:secret:[A-Za-z0-9/_+=.@!-]{1,512})(?:#([^\s]{1,128}))?$/;
const requestTimeoutMs = 10_000;

export interface SecretReferencesOptions {
  readonly clock: Clock;
  /** Whom the host is, and where Secrets Manager is, when it is not what AWS's own settings say. */
  readonly client?: Pick<SecretsManagerClientConfig, 'endpoint' | 'credentials'>;
}

export class SecretReferences {
  readonly #options: SecretReferencesOptions;
  /** What is changed in Secrets Manager counts a minute later at most. */
  readonly #read: ShortMemory<string>;

  constructor(options: SecretReferencesOptions) {
    this.#options = options;
    const read = (reference: string): Promise<string> => this.#fetch(reference);
    this.#read = new ShortMemory({ clock: options.clock, read, maxAgeMs: 60_000, maxCount: 1000 });
  }

  /**
   * The value itself, or what it stands for: `arn:aws:secretsmanager:…:secret:NAME`, with `#MEMBER` for a member of a secret that is a JSON object.
   * Errors: `tool_failed`.
   */
  async resolve(value: string): Promise<string> {
    return value.startsWith('arn:') && referencePattern.test(value) ? await this.#read.get(value) : value;
  }

  async #fetch(reference: string): Promise<string> {
    const [, arn, region = '', member] = referencePattern.exec(reference) ?? [];
    const text = stringOf(await this.#ask(arn, region));
    const secret = member === undefined ? text : memberOf(text, member);
    if (secret === undefined || secret === '' || secret.length > limits.secretMaxLength) throw unreadable();
    return secret;
  }

  async #ask(arn: string | undefined, region: string): Promise<GetSecretValueCommandOutput> {
    const { GetSecretValueCommand, SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
    const client = new SecretsManagerClient({ region, maxAttempts: 2, ...this.#options.client });
    try {
      const abortSignal = AbortSignal.timeout(requestTimeoutMs);
      return await client.send(new GetSecretValueCommand({ SecretId: arn }), { abortSignal });
    } catch (error) {
      throw unreadable(error);
    } finally {
      client.destroy();
    }
  }
}

function stringOf({ SecretString, SecretBinary }: GetSecretValueCommandOutput): string | undefined {
  return SecretString ?? (SecretBinary === undefined ? undefined : Buffer.from(SecretBinary).toString('utf8'));
}

function memberOf(text: string | undefined, member: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    const found: unknown = Object.hasOwn(Object(value), member) ? Reflect.get(Object(value), member) : undefined;
    return typeof found === 'string' ? found : undefined;
  } catch {
    return undefined; // The parser's message would quote the secret.
  }
}

function unreadable(cause?: unknown): BulkheadError {
  const options = cause === undefined ? {} : { cause };
  return new BulkheadError('tool_failed', 'A secret that is kept in Secrets Manager cannot be read.', options);
}
