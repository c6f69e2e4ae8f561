import type { HandlersOf } from './handler.ts';
import { portResource, time } from './represent.ts';

export const portHandlers: HandlersOf<'exposePort' | 'listPorts' | 'closePort' | 'createTerminalToken'> = {
  exposePort: async ({ service, caller, params: { session }, body }) => {
    const { token, ...port } = await service.ports.expose(caller, session, body);
    return { ...portResource(port), token };
  },
  listPorts: async ({ service, caller, params: { session } }) => {
    const ports = await service.ports.list(caller, session);
    return { items: ports.map((port) => portResource(port)) };
  },
  closePort: async ({ service, caller, params: { session, port } }) => {
    await service.ports.close(caller, session, port);
  },
  createTerminalToken: async ({ service, caller, params: { session } }) => {
    const { token, expiresAtUnixMs } = await service.ports.createTerminalToken(caller, session);
    return { token, expiresAt: time(expiresAtUnixMs) };
  },
};
