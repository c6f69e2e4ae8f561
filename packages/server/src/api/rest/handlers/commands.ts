import type { CommandEvent } from '@bulkhead/protocol';
import { CommandRun, eventsOf } from '../../command-run.ts';
import { EventStream, type HandlersOf, type ServerSentEvent } from '../handler.ts';

export const commandHandlers: HandlersOf<
  'runCommand' | 'startProcess' | 'listProcesses' | 'readProcessOutput' | 'killProcess'
> = {
  runCommand: async ({ service, caller, params: { session }, body, once, wantsEvents, signal, mayBeRepeated }) => {
    let live: CommandRun | undefined;
    const started = Promise.withResolvers<void>();
    const result = once(async () => {
      const guest = await service.sessions.guest(caller, session);
      // Who cannot ask again and has gone has no use for it.
      live = CommandRun.start(guest, body, mayBeRepeated ? {} : { signal });
      started.resolve();
      return await live.result;
    });
    if (!wantsEvents) return await result;
    // It runs for this call, and is told as it goes; or it ran for one before, and what was kept is told.
    await Promise.race([started.promise, result]);
    return new EventStream(toServerSent(live === undefined ? eventsOf(await result) : live.events(result)));
  },
  startProcess: async ({ service, caller, params: { session }, body }) => {
    const guest = await service.sessions.guest(caller, session);
    return { process: await guest.startProcess(body) };
  },
  listProcesses: async ({ service, caller, params: { session }, signal }) => {
    const guest = await service.sessions.guestToRead(caller, session);
    return { items: await guest.listProcesses({ signal }) };
  },
  readProcessOutput: async ({ service, caller, params: { session, process } }) => {
    const guest = await service.sessions.guestToRead(caller, session);
    return guest.processOutput(process);
  },
  killProcess: async ({ service, caller, params: { session, process } }) => {
    const guest = await service.sessions.guest(caller, session);
    await guest.killProcess(process);
  },
};

/** A command is told once: its events have no ids to come back with. */
async function* toServerSent(events: AsyncIterable<CommandEvent>): AsyncGenerator<ServerSentEvent, void, void> {
  for await (const event of events) yield { type: event.type, data: event };
}
