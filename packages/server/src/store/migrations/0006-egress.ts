// What connections of sessions have carried, beside the decisions that allowed them.

import type { Kysely } from 'kysely';

export async function addEgress(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .alterTable('decisions')
    .addColumn('sent_bytes', 'bigint')
    .addColumn('received_bytes', 'bigint')
    .execute();
}
