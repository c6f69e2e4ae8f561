// A step of a session, with what belongs to it, in one statement: both are kept, or neither.

import { BulkheadError } from '@bulkhead/protocol';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from './database.ts';
import { type Lease, leaseLost } from './lease.ts';
import type { SessionRow } from './session-store.ts';

/** What a step is about: the next generation of a session, or only something of a tenant's. */
export type Step = SessionRow | { readonly tenant: string };

type Kept = 'kept' | 'lease lost' | 'session changed';

/** `more` is a call of a function, or nothing; answers with what it answers. Errors: `state_conflict`, `store_unavailable`. */
export async function keepStep(
  database: Database,
  lease: Lease,
  step: Step,
  more: RawBuilder<unknown> = sql`NULL`,
): Promise<unknown> {
  const [row] = await database.query(
    sql<{
      readonly kept: Kept;
      readonly answer: unknown;
    }>`SELECT kept, CASE kept WHEN 'kept' THEN ${more} END AS answer FROM ${write(lease, step)} AS kept`,
  );
  if (row?.kept === 'lease lost') throw leaseLost();
  if (row?.kept !== 'kept') throw sessionChanged();
  return row.answer;
}

export function sessionChanged(): BulkheadError {
  return new BulkheadError('state_conflict', 'The session has been changed by somebody else.');
}

function write({ name, generation: holds }: Lease, step: Step): RawBuilder<unknown> {
  if (!('record' in step)) return sql`begin_step(${step.tenant}, ${name}, ${holds})`;
  const { id, tenant, generation, state, subject, labels, record } = step;
  return sql`save_session(
    ${tenant}, ${name}, ${holds},
    ${id}, ${generation}, ${state}, ${subject}, ${JSON.stringify(labels)}, ${JSON.stringify(record)}
  )`;
}
