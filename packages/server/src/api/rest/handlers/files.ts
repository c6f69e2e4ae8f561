import type { FileStat, SessionGuest } from '../../../sessions/session-guest.ts';
import type { HandlersOf } from '../handler.ts';
import { time } from '../represent.ts';

export const fileHandlers: HandlersOf<
  'readFile' | 'writeFile' | 'listFiles' | 'statFile' | 'moveFile' | 'makeDirectory' | 'removeFile'
> = {
  readFile: async ({ service, caller, params: { session }, query: { path }, signal }) => {
    const guest = await service.sessions.guestToRead(caller, session);
    return guest.readFile(path, { signal });
  },
  writeFile: async ({ service, caller, params: { session }, query: { path }, body, signal }) => {
    const guest = await service.sessions.guest(caller, session);
    await guest.writeFile(path, body.bytes, body.sizeBytes, { signal });
    return { path, sizeBytes: body.sizeBytes };
  },
  listFiles: async ({ service, caller, params: { session }, query: { path }, signal }) => {
    const guest = await service.sessions.guestToRead(caller, session);
    const { entries, truncated } = await guest.listFiles(path, { signal });
    return { items: entries.map((entry) => ({ name: entry.name, ...statDocument(entry) })), truncated };
  },
  statFile: async ({ service, caller, params: { session }, query: { path }, signal }) => {
    const guest = await service.sessions.guestToRead(caller, session);
    return statDocument(await guest.stat(path, { signal }));
  },
  moveFile: async ({ service, caller, params: { session }, body: { from, to } }) => {
    const guest: SessionGuest = await service.sessions.guest(caller, session);
    await guest.move(from, to);
  },
  makeDirectory: async ({ service, caller, params: { session }, body: { path } }) => {
    const guest = await service.sessions.guest(caller, session);
    await guest.mkdir(path);
  },
  removeFile: async ({ service, caller, params: { session }, query: { path, recursive } }) => {
    const guest = await service.sessions.guest(caller, session);
    await guest.remove(path, { recursive });
  },
};

/** The guest's word for when, which may be any number. */
const timeMaxMs = 8.64e15;

function statDocument({ kind, sizeBytes, mode, modifiedMs }: FileStat): Omit<FileStat, 'modifiedMs'> & {
  readonly modifiedAt: string;
} {
  return { kind, sizeBytes, mode, modifiedAt: time(Math.min(Math.max(modifiedMs, 0), timeMaxMs)) };
}
