// Who may change a host's sessions. The time is the database's; every taking has a higher generation, and every change names its own, so
// that a process which was stopped for a while cannot go on as if nothing had happened.

import { BulkheadError } from '@bulkhead/protocol';
import { sql } from 'kysely';
import type { Database } from './database.ts';
import { everyTenant } from './database.ts';

export const leaseMs = 30_000;

export interface Lease {
  readonly name: string;
  readonly generation: number;
}

const expiry = sql<Date>`clock_timestamp() + make_interval(secs => ${leaseMs / 1000})`;

/** Errors: `data_dir_busy` while somebody else has it. */
export async function takeLease(database: Database, name: string, holder: string): Promise<Lease> {
  const taken = await database.transaction(everyTenant, (transaction) =>
    transaction
      .insertInto('leases')
      .values({ name, holder, generation: 1, expires_at: expiry })
      .onConflict((conflict) =>
        conflict
          .column('name')
          .doUpdateSet({ holder, generation: sql`leases.generation + 1`, expires_at: expiry })
          .where((where) =>
            where.or([
              where('leases.expires_at', '<', sql<Date>`clock_timestamp()`),
              where('leases.holder', '=', holder),
            ]),
          ),
      )
      .returning('generation')
      .executeTakeFirst(),
  );
  if (taken !== undefined) return { name, generation: Number(taken.generation) };
  throw new BulkheadError('data_dir_busy', 'Another server has the lease on the sessions of this host.', {
    hint: `Wait ${leaseMs / 1000} s after it has ended.`,
  });
}

/** Errors: `state_conflict` when it is somebody else's by now. */
export async function renewLease(database: Database, lease: Lease): Promise<void> {
  await database.transaction(everyTenant, async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable('leases')
      .set({ expires_at: expiry })
      .where('name', '=', lease.name)
      .where('generation', '=', String(lease.generation))
      .executeTakeFirst();
    if (numUpdatedRows === 0n) throw leaseLost();
  });
}

export async function endLease(database: Database, lease: Lease): Promise<void> {
  await database.transaction(everyTenant, (transaction) =>
    transaction
      .deleteFrom('leases')
      .where('name', '=', lease.name)
      .where('generation', '=', String(lease.generation))
      .execute(),
  );
}

export function leaseLost(): BulkheadError {
  return new BulkheadError('state_conflict', 'Another server has taken the sessions of this host.');
}
