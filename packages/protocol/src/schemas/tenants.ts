import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits } from '../limits.ts';
import { roleNames, scopes } from '../scopes.ts';
import { pageOf, pageQuery, timeSchema } from './common.ts';
import { tierSchema } from './sessions.ts';

const quota = (description: string): z.ZodInt => z.int().min(0).max(limits.quotaMaximum).meta({ description });
const quotas = {
  sessions: quota('Sessions that have not ended.'),
  machines: quota('Of these, awake.'),
  memoryMib: quota('Memory of the machines that are awake.'),
  diskMib: quota('Scratch disks of the sessions that have not ended.'),
  requestsPerSecond: quota('Requests a second, over a few seconds.'),
};
export const quotasSchema = z.object(quotas).meta({ id: 'Quotas' });
export type Quotas = z.infer<typeof quotasSchema>;

export const tenantName = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
/** What begins like an id is for tenants that the server names itself. */
const newTenantName = z.string().regex(/^(?!ten-)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
const retentionDays = z.int().min(1).max(3650).meta({ description: 'Days that what turns printed is kept.' });
export const tenantSchema = z
  .object({
    id: idSchema('tenant'),
    name: tenantName,
    version: z.int().meta({ description: 'One more with every change; the ETag.' }),
    quotas: quotasSchema,
    minimumTier: tierSchema.nullable().meta({ description: 'Sessions get no machine that is weaker.' }),
    retentionDays,
    createdAt: timeSchema,
  })
  .meta({ id: 'Tenant' });
export type TenantResource = z.infer<typeof tenantSchema>;

const tenantFields = {
  quotas: z.strictObject(quotas).partial().exactOptional(),
  minimumTier: tierSchema.nullable().exactOptional(),
  retentionDays: retentionDays.exactOptional(),
};
export const createTenantBody = z.strictObject({ name: newTenantName, ...tenantFields }).meta({ id: 'CreateTenant' });
export const updateTenantBody = z.strictObject(tenantFields).meta({ id: 'UpdateTenant' });
export const tenantParams = z.object({ tenant: idSchema('tenant') });
export const listTenantsQuery = z.strictObject(pageQuery);
export const tenantPage = pageOf(tenantSchema).meta({ id: 'TenantPage' });

const scopeSchema = z.enum(scopes).meta({ id: 'Scope' });
const subjectSchema = z
  .string()
  .min(1)
  .max(limits.subjectMaxLength)
  .regex(/^[\x21-\x7e]+$/)
  .meta({ description: 'On whose behalf: sessions belong to it.' });
const key = {
  id: idSchema('key'),
  name: z.string(),
  subject: subjectSchema,
  scopes: z.array(scopeSchema),
  createdAt: timeSchema,
  expiresAt: timeSchema.nullable(),
  revokedAt: timeSchema.nullable(),
  lastUsedAt: timeSchema.nullable().meta({ description: 'Within a minute or so.' }),
};
export const keySchema = z.object(key).meta({ id: 'Key' });
export type KeyResource = z.infer<typeof keySchema>;
/** With its secret, which is shown this once. */
export const issuedKeySchema = z.object({ ...key, secret: z.string() }).meta({ id: 'IssuedKey' });
export type IssuedKey = z.infer<typeof issuedKeySchema>;
export const keyParams = z.object({ tenant: idSchema('tenant'), key: idSchema('key') });
export const createKeyBody = z
  .strictObject({
    name: z.string().min(1).max(128),
    subject: subjectSchema.exactOptional().meta({ description: 'The caller’s own when none is given.' }),
    role: z.enum(roleNames).exactOptional(),
    scopes: z
      .array(scopeSchema)
      .max(scopes.length)
      .exactOptional()
      .meta({ description: 'In place of a role; no more than the caller has.' }),
    expiresAt: timeSchema.exactOptional(),
  })
  // Refused by the use case, which says which roles there are; here it is said to who reads the schema.
  .meta({ id: 'CreateKey', oneOf: [{ required: ['role'] }, { required: ['scopes'] }] });
export const rotateKeyBody = z
  .strictObject({
    graceSeconds: z
      .int()
      .min(0)
      .max(limits.keyGraceMaxSeconds)
      .default(3600)
      .meta({ description: 'So long the old secret still works.' }),
  })
  .meta({ id: 'RotateKey' });
export const listKeysQuery = z.strictObject(pageQuery);
export const keyPage = pageOf(keySchema).meta({ id: 'KeyPage' });

export const callerSchema = z
  .object({
    tenant: idSchema('tenant'),
    subject: z.string(),
    scopes: z.array(scopeSchema),
    key: idSchema('key').nullable().meta({ description: 'Null when the caller came with a token.' }),
  })
  .meta({ id: 'Caller' });
