// `bulkhead mcp` without a server: MCP for one client, over sessions of this process.

import { roles } from '@bulkhead/protocol';
import { CallerSessions } from './api/caller-sessions.ts';
import { type StdioOptions, serveStdio } from './api/mcp/serve-stdio.ts';
import { unkeptSessions } from './api/unkept-sessions.ts';
import type { Keeping } from './keep-sessions.ts';
import { localSubject } from './sessions/session-record.ts';
import type { Sessions } from './sessions/sessions.ts';
import type { Caller } from './tenants/caller.ts';
import { localTenant } from './tenants/local-tenant.ts';

export type ServeMcpOptions = Pick<StdioOptions, 'stdin' | 'stdout' | 'signal' | 'version' | 'onFailure'>;

/** Whoever works on this host. */
const localCaller: Caller = {
  tenant: localTenant,
  subject: localSubject,
  scopes: new Set(roles.operator),
  key: null,
};

/** Without a place to keep them sessions cannot sleep. */
const needKeeping = ['suspend_session', 'resume_session'];

/** Resolves when the client has gone, and everything that was its own with it. */
export async function serveMcp(
  { sessions, keeping }: { readonly sessions: Sessions; readonly keeping: Keeping | undefined },
  options: ServeMcpOptions,
): Promise<void> {
  await serveStdio({
    ...options,
    opener: localCaller,
    without: keeping === undefined ? needKeeping : [],
    sessions:
      keeping === undefined
        ? unkeptSessions(sessions)
        : new CallerSessions({ sessions, stored: keeping.sessions, turns: keeping.turns }),
  });
}
