// Calls of tools that wait for a person.

import { z } from 'zod';
import { idSchema } from '../ids.ts';
import { limits } from '../limits.ts';
import { lineSchema, pageOf, pageQuery, timeSchema } from './common.ts';

/**
 * One way: what was `pending` is answered once (`approved`, `refused`), or it is too late for that: its time was over (`expired`), or nobody waits for it
 * any more (`cancelled`).
 */
export const approvalStates = ['pending', 'approved', 'refused', 'expired', 'cancelled'] as const;
export type ApprovalState = (typeof approvalStates)[number];

const approval = {
  id: idSchema('approval'),
  state: z.enum(approvalStates),
  decision: idSchema('decision').meta({ description: 'Which said that a person has to approve.' }),
  session: idSchema('session'),
  subject: z.string().meta({ description: 'Whose session it is.' }),
  action: z.string().meta({ description: '`tool.operation`.' }),
  policies: z.array(z.string()).meta({ description: 'Those that ask for a person.' }),
  argumentsDigest: z.string().meta({ description: 'SHA-256 of `arguments`: what is approved, and nothing else.' }),
  createdAt: timeSchema,
  expiresAt: timeSchema,
  answeredAt: timeSchema.nullable(),
  answeredBy: z.string().nullable().meta({ description: 'The subject of who approved or refused.' }),
  answeredWith: idSchema('key').nullable().meta({ description: 'The API key; null for a token.' }),
  reason: z.string().nullable().meta({ description: 'What that person said.' }),
};
export const approvalSchema = z.object(approval).meta({ id: 'Approval' });
export type ApprovalResource = z.output<typeof approvalSchema>;
export const approvalDetailSchema = z
  .object({
    ...approval,
    resource: z.string().meta({ description: 'What the call works on, as policies name it.' }),
    arguments: z.string().meta({ description: 'The arguments, byte for byte, in their canonical form (RFC 8785).' }),
  })
  .meta({ id: 'ApprovalDetail' });
export type ApprovalDetail = z.output<typeof approvalDetailSchema>;
export const approvalPage = pageOf(approvalSchema).meta({ id: 'ApprovalPage' });

export const approvalParams = z.object({ approval: idSchema('approval') });
export const listApprovalsQuery = z.strictObject({
  ...pageQuery,
  state: z.enum(approvalStates).exactOptional(),
  session: idSchema('session').exactOptional(),
});
export const listSessionApprovalsQuery = z.strictObject({
  ...pageQuery,
  state: z.enum(approvalStates).exactOptional(),
});
const reason = lineSchema(1, limits.approvalReasonMaxLength);
export const approveBody = z.strictObject({ reason: reason.exactOptional() }).meta({ id: 'Approve' });
export const refuseBody = z.strictObject({ reason }).meta({ id: 'Refuse' });
