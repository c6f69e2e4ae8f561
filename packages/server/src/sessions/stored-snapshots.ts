// Keeps snapshots: a row in the store, a sealed file, a key. The row comes first and is complete last, so that whatever a crash leaves
// can be told from what is whole.

import { type SnapshotId, makeId, parseId } from '@bulkhead/protocol';
import type { KeyRing } from '../snapshots/key-ring.ts';
import { type SnapshotKind, snapshotKinds } from '../snapshots/sealed-file.ts';
import type { NewSnapshotFile, SnapshotFiles } from '../snapshots/snapshot-files.ts';
import { invalidSnapshot } from '../snapshots/snapshot-header.ts';
import type { SnapshotSource } from '../runtimes/runtime.ts';
import type { SnapshotRow, SnapshotStore } from '../store/snapshot-store.ts';
import type { Capture, KeptSnapshot, OpenSnapshot, SnapshotKeeper, WhoseSnapshot } from './session-journal.ts';

export class StoredSnapshots implements SnapshotKeeper {
  readonly #store: SnapshotStore;
  readonly #files: SnapshotFiles;
  readonly #keys: KeyRing;

  constructor(store: SnapshotStore, files: SnapshotFiles, keys: KeyRing) {
    this.#store = store;
    this.#files = files;
    this.#keys = keys;
  }

  async save(
    { tenant, session }: WhoseSnapshot,
    what: { readonly kind: SnapshotKind; readonly name: string | null; readonly unixMs: number },
    write: Capture,
  ): Promise<KeptSnapshot> {
    const { kind, name, unixMs: createdAtUnixMs } = what;
    const id = makeId('snapshot');
    const row = { id, session, tenant, kind, name, createdAtUnixMs };
    await using opened = new AsyncDisposableStack();
    const open = async (): Promise<NewSnapshotFile & { readonly key: Uint8Array }> => {
      const { key } = opened.use(await this.#keys.ensure(tenant, session));
      await this.#store.begin(row);
      return { ...opened.use(await this.#files.create(session, id)), key };
    };
    const opening = open();
    const target = opening.then(({ fd, key }) => ({ fd, key, snapshot: id, kind, createdAtUnixMs }));
    target.catch(() => undefined); // `write` sees the failure, or one of its own before it
    try {
      const { bytes, epoch } = await write(target);
      await (await opening).commit();
      const replaced = await this.#store.complete({ ...row, written: { bytes, epoch } });
      for (const former of replaced) await this.#files.remove(session, snapshotId(former));
      return { id, kind, name, createdAtUnixMs, bytes, epoch };
    } catch (error) {
      await opening.catch(() => undefined);
      await this.remove({ tenant, session }, id).catch(() => undefined);
      throw error;
    }
  }

  open(whose: WhoseSnapshot, snapshot: SnapshotId): OpenSnapshot {
    const opened = new AsyncDisposableStack();
    const source = this.#open(whose, snapshot, opened);
    const settled = source.then(
      () => undefined,
      () => undefined, // whoever restores from it sees the failure
    );
    return { source, [Symbol.asyncDispose]: () => settled.then(() => opened.disposeAsync()) };
  }

  async #open(
    { tenant, session }: WhoseSnapshot,
    snapshot: SnapshotId,
    opened: AsyncDisposableStack,
  ): Promise<SnapshotSource> {
    const kept = (await this.list({ tenant, session })).find(({ id }) => id === snapshot);
    if (kept === undefined) throw invalidSnapshot('it is not among those that are kept');
    const file = opened.use(await this.#files.open(session, snapshot));
    const { key } = opened.use(await this.#keys.open(tenant, session));
    return { fd: file.fd, key, snapshot, tenant, session, epoch: kept.epoch };
  }

  async list({ tenant, session }: WhoseSnapshot): Promise<readonly KeptSnapshot[]> {
    return (await this.#store.list(tenant, session)).flatMap((row) => keptSnapshot(row) ?? []);
  }

  async remove({ tenant, session }: WhoseSnapshot, snapshot: SnapshotId): Promise<void> {
    await this.#files.remove(session, snapshot);
    await this.#store.remove(tenant, snapshot);
  }

  async forget({ tenant, session }: WhoseSnapshot): Promise<void> {
    await this.#keys.destroy(session);
    await this.#files.removeAll(session);
    await this.#store.removeOf(tenant, session);
  }
}

/** Undefined for one that is not whole. */
export function keptSnapshot({ id, kind, name, createdAtUnixMs, written }: SnapshotRow): KeptSnapshot | undefined {
  const known = snapshotKinds.find((candidate) => candidate === kind);
  if (written === null || known === undefined) return undefined;
  return { id: snapshotId(id), kind: known, name, createdAtUnixMs, ...written };
}

function snapshotId(text: string): SnapshotId {
  const id = parseId('snapshot', text);
  if (id === undefined) throw invalidSnapshot('its id has not the form of one');
  return id;
}
