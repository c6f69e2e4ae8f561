// What a snapshot says of itself: readable without its key, believed only with it.

import {
  type Accelerator,
  BulkheadError,
  type SessionId,
  type SizeName,
  type SnapshotId,
  type TenantId,
  accelerators,
  idSchema,
  sizeNames,
} from '@bulkhead/protocol';
import { z } from 'zod';

export const snapshotKinds = ['suspend', 'checkpoint'] as const;
export type SnapshotKind = (typeof snapshotKinds)[number];

/** Of the form that the header and what follows it have. */
export const snapshotVersion = 2;

export interface SnapshotHeader {
  readonly version: number;
  readonly snapshot: SnapshotId;
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly kind: SnapshotKind;
  /** The identity in force in the machine. */
  readonly epoch: number;
  readonly templateDigest: string;
  readonly accelerator: Accelerator;
  readonly size: SizeName;
  /** The version of the VMM that wrote it. */
  readonly vmm: string;
  readonly createdAtUnixMs: number;
}

const word: z.ZodString = z.string().min(1).max(128);
const headerSchema: z.ZodType<SnapshotHeader> = z.strictObject({
  version: z.int().min(1),
  snapshot: idSchema('snapshot'),
  tenant: idSchema('tenant'),
  session: idSchema('session'),
  kind: z.enum(snapshotKinds),
  epoch: z.int().min(1).max(65_535),
  templateDigest: word,
  accelerator: z.enum(accelerators),
  size: z.custom<SizeName>((value) => sizeNames.some((name) => name === value)),
  vmm: word,
  createdAtUnixMs: z.int().min(0),
});

/** What a snapshot has to be to be loaded: whose, which one, and made by what is here. */
export interface ExpectedHeader {
  readonly snapshot: SnapshotId;
  readonly tenant: TenantId;
  readonly session: SessionId;
  readonly epoch: number;
  readonly templateDigest: string;
  readonly vmm: string;
}

export function invalidSnapshot(what: string, cause?: unknown): BulkheadError {
  return new BulkheadError('snapshot_invalid', `The snapshot cannot be loaded: ${what}.`, {
    hint: 'It was damaged, exchanged or cut short on the disk. Nothing of it was run; the session cannot be resumed from it.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Errors: `snapshot_invalid`. */
export function parseHeader(bytes: Buffer): SnapshotHeader {
  try {
    return headerSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw invalidSnapshot('its header is damaged', error);
  }
}

/** Says nothing of whose a snapshot is instead. Errors: `snapshot_invalid`, `snapshot_incompatible`. */
export function checkHeader(header: SnapshotHeader, expected: ExpectedHeader): void {
  if (header.tenant !== expected.tenant || header.session !== expected.session) {
    throw invalidSnapshot('it belongs to another session');
  }
  if (header.snapshot !== expected.snapshot || header.epoch !== expected.epoch) {
    throw invalidSnapshot('it is another one than the session was put into');
  }
  if (header.version !== snapshotVersion) {
    throw incompatible(
      `It was written in the form ${header.version}; this Bulkhead reads the form ${snapshotVersion}.`,
      {
        hint: 'Resume it with the Bulkhead that it was suspended with; or terminate the session.',
      },
    );
  }
  if (header.templateDigest !== expected.templateDigest) {
    throw incompatible('It was made from another template than the one that is here now.', {
      hint: 'Resume it with the image, the size and the Bulkhead that it was suspended with; or terminate the session.',
    });
  }
  if (header.vmm !== expected.vmm) {
    throw incompatible(`It was made with ${header.vmm}; here is ${expected.vmm}.`, {
      hint: `Install ${header.vmm} again to resume it; or terminate the session.`,
    });
  }
}

function incompatible(message: string, { hint }: { readonly hint: string }): BulkheadError {
  return new BulkheadError('snapshot_incompatible', message, { hint });
}
