import { makeId } from '@bulkhead/protocol';
import { type SnapshotHeader, snapshotVersion } from '../../src/snapshots/sealed-file.ts';

/** Of a session that there is not. */
export const key: Buffer = Buffer.alloc(32, 7);
/** What the tests write, and expect. */
export const header: SnapshotHeader = {
  version: snapshotVersion,
  snapshot: makeId('snapshot'),
  tenant: makeId('tenant'),
  session: makeId('session'),
  kind: 'suspend',
  epoch: 3,
  templateDigest: 'a'.repeat(64),
  accelerator: 'tcg',
  size: 'small',
  vmm: '7.2.22',
  createdAtUnixMs: 1_764_000_000_000,
};
