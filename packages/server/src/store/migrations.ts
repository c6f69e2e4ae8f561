// The steps that lead to the tables. A step that has been released is never changed: another follows.

import type { Migration } from 'kysely/migration';
import { createTables } from './migrations/0001-sessions.ts';
import { addTenants } from './migrations/0002-tenants.ts';
import { addAuthority } from './migrations/0003-authority.ts';
import { addApprovals } from './migrations/0004-approvals.ts';
import { addSteps } from './migrations/0005-steps.ts';
import { addEgress } from './migrations/0006-egress.ts';
import { changeSessionsInPlace } from './migrations/0007-sessions-in-place.ts';
import { addAdmission } from './migrations/0008-admission.ts';
import { addCallers } from './migrations/0009-callers.ts';
import { addSnapshotSteps } from './migrations/0010-snapshots.ts';

export const migrations: Readonly<Record<string, Migration>> = {
  '0001-sessions': { up: createTables },
  '0002-tenants': { up: addTenants },
  '0003-authority': { up: addAuthority },
  '0004-approvals': { up: addApprovals },
  '0005-steps': { up: addSteps },
  '0006-egress': { up: addEgress },
  '0007-sessions-in-place': { up: changeSessionsInPlace },
  '0008-admission': { up: addAdmission },
  '0009-callers': { up: addCallers },
  '0010-snapshots': { up: addSnapshotSteps },
};
