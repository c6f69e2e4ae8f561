import { BulkheadError, type Routes, sessionStates } from '@bulkhead/protocol';
import { given } from '../../../lib/given.ts';
import type { SessionFilter } from '../../../sessions/stored-sessions.ts';
import type { Call, HandlersOf } from '../handler.ts';
import { checkpointResource, pageOf, sessionResource } from '../represent.ts';

export const sessionHandlers: HandlersOf<
  | 'createSession'
  | 'listSessions'
  | 'getSession'
  | 'updateSession'
  | 'terminateSession'
  | 'suspendSession'
  | 'resumeSession'
  | 'forkSession'
  | 'listCheckpoints'
  | 'createCheckpoint'
  | 'restoreCheckpoint'
  | 'deleteCheckpoint'
> = {
  createSession: async ({ service, caller, body, signal, mayBeRepeated }) => {
    const { wait, timeLimits, runtime: asked, ...rest } = body;
    const request = {
      ...rest,
      ...(asked === 'auto' ? {} : { runtime: asked }),
      ...(timeLimits === undefined ? {} : { timeLimits: given(timeLimits) }),
    };
    // Who cannot ask again and has gone will never learn of the session.
    const options = wait === 'none' || mayBeRepeated ? {} : { signal };
    const { record, ready } = service.sessions.begin(caller, request, options);
    return sessionResource(wait === 'none' ? record : await ready);
  },
  listSessions: async ({ service, caller, query }) => {
    const { limit, cursor } = query;
    const page = { limit, ...(cursor === undefined ? {} : { cursor }) };
    return pageOf(await service.sessions.list(caller, filterOf(query), page), sessionResource);
  },
  getSession: async ({ service, caller, params: { session } }) =>
    sessionResource(await service.sessions.get(caller, session)),
  updateSession: async ({ service, caller, params: { session }, body, expectedVersion }) =>
    sessionResource(await service.sessions.label(caller, session, body.labels, expectedVersion)),
  terminateSession: async ({ service, caller, params: { session }, expectedVersion }) =>
    sessionResource(await service.sessions.terminate(caller, session, expectedVersion)),
  suspendSession: async ({ service, caller, params: { session } }) =>
    sessionResource(await service.sessions.suspend(caller, session)),
  resumeSession: async ({ service, caller, params: { session } }) =>
    sessionResource(await service.sessions.resume(caller, session)),
  forkSession: async ({ service, caller, params: { session }, body, signal, mayBeRepeated }) => {
    const { count, grant } = body;
    const options = { ...(mayBeRepeated ? {} : { signal }), ...(grant === undefined ? {} : { grant }) };
    const forked = await service.sessions.fork(caller, session, count, options);
    return { sessions: forked.map((record) => sessionResource(record)) };
  },
  listCheckpoints: async ({ service, caller, params: { session } }) => ({
    items: (await service.sessions.listCheckpoints(caller, session)).map((kept) => checkpointResource(kept)),
  }),
  createCheckpoint: async ({ service, caller, params: { session }, body }) =>
    checkpointResource(await service.sessions.checkpoint(caller, session, body.name)),
  restoreCheckpoint: async ({ service, caller, params: { session, checkpoint } }) =>
    sessionResource(await service.sessions.restoreCheckpoint(caller, session, checkpoint)),
  deleteCheckpoint: async ({ service, caller, params: { session, checkpoint } }) =>
    await service.sessions.deleteCheckpoint(caller, session, checkpoint),
};

function filterOf(query: Call<Routes['listSessions']>['query']): SessionFilter {
  const { state, subject, ended, labelKey, labelValue } = query;
  if (labelValue !== undefined && labelKey === undefined) {
    throw new BulkheadError('invalid_request', 'A label is looked for by its key.', {
      hint: 'Give `labelKey` beside `labelValue`.',
      details: { problems: ['query.labelValue: only with labelKey'] },
    });
  }
  const going = sessionStates.filter((each) => each !== 'terminated' && each !== 'failed');
  const states = state === undefined ? (ended ? undefined : going) : [state];
  return {
    ...(states === undefined ? {} : { states }),
    ...(subject === undefined ? {} : { subject }),
    ...(labelKey === undefined ? {} : { labels: { [labelKey]: labelValue ?? null } }),
  };
}
