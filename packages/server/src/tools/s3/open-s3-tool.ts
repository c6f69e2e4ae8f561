import { BulkheadError, type S3Operation, type S3Settings } from '@bulkhead/protocol';
import { AssumedRole } from '../../authority/credentials/assumed-role.ts';
import { type AwsKeySource, type KeyHolder, staticKeys } from '../../authority/credentials/aws-keys.ts';
import { writeSessionPolicy } from '../../authority/credentials/session-policy.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import type { ToolSurroundings } from '../tool.ts';
import { S3Tool } from './s3-tool.ts';

/** Errors: `invalid_request`, those of `secret`. The store itself is not asked: what keys may do there is each session's own. */
export async function openS3Tool(
  name: string,
  settings: S3Settings,
  { secret }: ToolSurroundings,
  clock: Clock = systemClock,
): Promise<S3Tool> {
  if (settings.pathStyle && settings.endpoint === undefined) {
    throw new BulkheadError('invalid_request', '`pathStyle` is for servers that have an `endpoint`.');
  }
  // Those that are named have to be there.
  for (const named of secretsOf(settings)) await secret(named);
  return new S3Tool({ name, settings, keys: keySource(settings, secret, clock), clock });
}

function secretsOf({ credentials }: S3Settings): readonly string[] {
  if (credentials.source === 'static') return [credentials.secretAccessKey];
  const { externalId, identity } = credentials;
  return [externalId, identity?.secretAccessKey].filter((named) => named !== undefined);
}

function keySource(settings: S3Settings, secret: ToolSurroundings['secret'], clock: Clock): AwsKeySource {
  const { credentials, region } = settings;
  if (credentials.source === 'static') {
    return staticKeys(credentials.accessKeyId, () => secret(credentials.secretAccessKey));
  }
  const { roleArn, durationSeconds, endpoint, externalId, identity } = credentials;
  const base =
    identity === undefined
      ? {}
      : {
          identity: async () => ({
            accessKeyId: identity.accessKeyId,
            secretAccessKey: await secret(identity.secretAccessKey),
          }),
        };
  return new AssumedRole({
    roleArn,
    durationSeconds,
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(externalId === undefined ? {} : { externalId: () => secret(externalId) }),
    ...base,
    policyOf: (holder) => policyOf(settings, roleArn, holder),
    clock,
  });
}

/** What the settings turn on, as far as the session was granted it. */
function policyOf({ bucket, prefix, operations }: S3Settings, roleArn: string, { granted }: KeyHolder): string {
  const allowed: readonly S3Operation[] = operations.filter((operation) => granted.includes(operation));
  const [, partition = 'aws'] = roleArn.split(':');
  return writeSessionPolicy({ partition, bucket, prefix, operations: allowed });
}
