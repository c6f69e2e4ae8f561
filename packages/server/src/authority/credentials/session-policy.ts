// The policy that the keys of one session are made with. What they can do is what the role may and this says, so keys that got out of the host would be
// worth no more than what the session may do through it.

import type { S3Operation } from '@bulkhead/protocol';

export interface ObjectScope {
  /** Of the role: `aws`, `aws-cn`, … */
  readonly partition: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly operations: readonly S3Operation[];
}

const objectActions: Readonly<Record<Exclude<S3Operation, 'list'>, string>> = {
  get: 's3:GetObject',
  head: 's3:GetObject',
  presign: 's3:GetObject',
  put: 's3:PutObject',
  delete: 's3:DeleteObject',
};

/** A policy document of IAM. It has no wildcard but the one after the prefix: settings take none in a bucket or a prefix. */
export function writeSessionPolicy({ partition, bucket, prefix, operations }: ObjectScope): string {
  const resource = `arn:${partition}:s3:::${bucket}`;
  const actions = operations.flatMap((operation) => (operation === 'list' ? [] : [objectActions[operation]]));
  const statements: object[] = [];
  if (actions.length > 0) {
    const unique = [...new Set(actions)].toSorted();
    statements.push({ Effect: 'Allow', Action: unique, Resource: `${resource}/${prefix}/*` });
  }
  if (operations.includes('list')) {
    const condition = { StringLike: { 's3:prefix': `${prefix}/*` } };
    statements.push({ Effect: 'Allow', Action: ['s3:ListBucket'], Resource: resource, Condition: condition });
  }
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}
