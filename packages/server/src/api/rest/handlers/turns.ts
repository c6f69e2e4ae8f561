import type { TurnEvent } from '@bulkhead/protocol';
import { turnOf } from '../../caller-sessions.ts';
import { EventStream, type HandlersOf, type ServerSentEvent } from '../handler.ts';
import { pageOf, turnResource } from '../represent.ts';

export const turnHandlers: HandlersOf<
  'startTurn' | 'listTurns' | 'getTurn' | 'listTurnEvents' | 'cancelTurn' | 'listContexts' | 'restartContext'
> = {
  startTurn: async ({ service, caller, params: { session }, body, once, wantsEvents, signal }) => {
    const { wait, ...request } = body;
    // Only that it was started is done once and kept: what it told is written down with the turn, where every repetition finds it.
    const begun = await once(async () =>
      turnResource(await turnOf(await service.sessions.startTurn(caller, session, request))),
    );
    if (wait === 'none') return begun;
    const events = await service.sessions.events(caller, session, begun.id, 0, wantsEvents ? { signal } : {});
    if (wantsEvents) return new EventStream(toServerSent(events));
    // Whoever waits reads along up to the end; going away does not end the turn.
    for await (const event of events) if (event.type === 'end') break;
    return turnResource(await service.sessions.getTurn(caller, session, begun.id));
  },
  listTurns: async ({ service, caller, params: { session }, query }) =>
    pageOf(await service.sessions.listTurns(caller, session, query), (turn) => turnResource({ ...turn, result: null })),
  getTurn: async ({ service, caller, params: { session, turn } }) =>
    turnResource(await service.sessions.getTurn(caller, session, turn)),
  listTurnEvents: async ({ service, caller, params, query, wantsEvents, lastEventId, signal }) => {
    const { session, turn } = params;
    const after = lastEventId ?? query.after;
    if (!wantsEvents) return await service.sessions.pageOfEvents(caller, session, turn, { after, limit: query.limit });
    return new EventStream(toServerSent(await service.sessions.events(caller, session, turn, after, { signal })));
  },
  cancelTurn: async ({ service, caller, params: { session, turn } }) =>
    turnResource(await service.sessions.cancelTurn(caller, session, turn)),
  listContexts: async ({ service, caller, params: { session }, signal }) => {
    const guest = await service.sessions.guestAwake(caller, session);
    return { items: await guest.listContexts({ signal }) };
  },
  restartContext: async ({ service, caller, params: { session }, body }) =>
    await service.sessions.restartContext(caller, session, body.language, body.context),
};

async function* toServerSent(events: AsyncIterable<TurnEvent>): AsyncGenerator<ServerSentEvent, void, void> {
  for await (const event of events) yield { id: event.seq, type: event.type, data: event };
}
