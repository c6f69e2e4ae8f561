import { type SnapshotId, makeId } from '@bulkhead/protocol';
import type { KeptSnapshot, OpenSnapshot, SnapshotKeeper, WhoseSnapshot } from '../../src/sessions/session-journal.ts';

/** Keeps what the fake runtime captures by itself: rows without files. */
export class MemoryKeeper implements SnapshotKeeper {
  readonly kept: Map<SnapshotId, KeptSnapshot & WhoseSnapshot> = new Map();
  /** Thrown by the next `save`, after the capture. */
  failure: Error | undefined;

  async save(...[whose, what, write]: Parameters<SnapshotKeeper['save']>): Promise<KeptSnapshot> {
    const { kind, name, unixMs: createdAtUnixMs } = what;
    const id = makeId('snapshot');
    const { bytes, epoch } = await write({ fd: -1, key: new Uint8Array(32), snapshot: id, kind, createdAtUnixMs });
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    const snapshot = { id, kind, name, createdAtUnixMs, bytes, epoch };
    for (const other of this.kept.values()) {
      if (name !== null && other.session === whose.session && other.name === name) this.kept.delete(other.id);
    }
    this.kept.set(id, { ...snapshot, ...whose });
    return snapshot;
  }

  open({ tenant, session }: WhoseSnapshot, snapshot: SnapshotId): OpenSnapshot {
    const epoch = this.kept.get(snapshot)?.epoch ?? 0;
    const source = { fd: -1, key: new Uint8Array(32), snapshot, tenant, session, epoch };
    return { source, [Symbol.asyncDispose]: () => Promise.resolve() };
  }

  async list({ session }: WhoseSnapshot): Promise<readonly KeptSnapshot[]> {
    return [...this.kept.values()].filter((each) => each.session === session);
  }

  async remove(_whose: WhoseSnapshot, snapshot: SnapshotId): Promise<void> {
    this.kept.delete(snapshot);
  }

  async forget({ session }: WhoseSnapshot): Promise<void> {
    for (const each of this.kept.values()) if (each.session === session) this.kept.delete(each.id);
  }
}
