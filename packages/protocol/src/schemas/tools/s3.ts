import { z } from 'zod';
import { description, secretName } from './parts.ts';

/** What can be done with objects; `presign` gives out an address that reads one object for whoever has it. */
export const s3Operations = ['get', 'head', 'list', 'put', 'delete', 'presign'] as const;
export type S3Operation = (typeof s3Operations)[number];

const address = z
  .string()
  .max(300)
  .regex(/^https?:\/\/[^/?#@\\\s]+$/)
  .refine((text) => URL.canParse(text) && new URL(text).origin === text, {
    message: 'scheme, host and port as a browser writes them: https://objects.example.net',
  });
const region = z.string().regex(/^[a-z0-9-]{1,32}$/);
const accessKeyId = z.string().regex(/^[A-Za-z0-9_.-]{3,128}$/);

export const s3Credentials = z
  .discriminatedUnion('source', [
    z
      .strictObject({ source: z.literal('static'), accessKeyId, secretAccessKey: secretName })
      .meta({ description: 'One key for every session of the tenant.' }),
    z
      .strictObject({
        source: z.literal('assume_role'),
        roleArn: z.string().regex(/^arn:aws[a-z-]{0,20}:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/),
        externalId: secretName.exactOptional(),
        durationSeconds: z.int().min(900).max(43_200).default(900).meta({
          description: 'At most 3600 where the identity that assumes the role is a role itself.',
        }),
        endpoint: address.exactOptional().meta({ description: 'Of STS; that of AWS in the region unless said.' }),
        identity: z
          .strictObject({ accessKeyId, secretAccessKey: secretName })
          .exactOptional()
          .meta({ description: 'Who assumes the role; the host’s own identity in AWS unless said.' }),
      })
      .meta({
        description:
          'Short credentials of each session’s own, that can do no more than it was granted, under the prefix.',
      }),
  ])
  .meta({ description: 'What requests are signed with, on the host. Secrets are named, not given.' });
export type S3Credentials = z.output<typeof s3Credentials>;

export const s3Settings = z.strictObject({
  kind: z.literal('s3'),
  description,
  endpoint: address.exactOptional().meta({ description: 'Of a server that speaks S3; AWS unless said.' }),
  pathStyle: z.boolean().default(false).meta({ description: 'The bucket in the path and not in the host’s name.' }),
  region: region.default('us-east-1'),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/),
  prefix: z
    .string()
    .max(256)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._=@+-]*(?:\/[A-Za-z0-9][A-Za-z0-9._=@+-]*)*$/)
    .meta({ description: 'The tenant’s own: `acme` holds `acme/prices/dax.csv`, whose key is `prices/dax.csv`.' }),
  credentials: s3Credentials,
  operations: z
    .array(z.enum(s3Operations))
    .min(1)
    .max(s3Operations.length)
    .refine((all) => new Set(all).size === all.length, { message: 'each at most once' })
    .default(['get', 'head', 'list']),
  bytesMax: z.int().min(1).max(1_073_741_824).default(67_108_864).meta({
    description: 'Of an object that is read; one that is written has at most 64 MiB besides.',
  }),
  timeoutMs: z.int().min(100).max(600_000).default(30_000),
  presignMaxSeconds: z.int().min(1).max(3600).default(300),
});
export type S3Settings = z.output<typeof s3Settings>;
