import { BulkheadError } from '@bulkhead/protocol';
import type { HandlersOf } from './handler.ts';

/** Ports of sessions: until there is a proxy, none can be reached, and none is. */
export const portHandlers: HandlersOf<'exposePort' | 'listPorts' | 'closePort'> = {
  exposePort: async ({ service, caller, params }) => {
    await service.sessions.get(caller, params.session);
    throw new BulkheadError('unsupported', 'This server does not make ports reachable.');
  },
  listPorts: async ({ service, caller, params }) => {
    await service.sessions.get(caller, params.session);
    return { items: [] };
  },
  closePort: async ({ service, caller, params }) => {
    await service.sessions.get(caller, params.session);
    throw new BulkheadError('not_found', `There is no port ${params.port}.`);
  },
};
