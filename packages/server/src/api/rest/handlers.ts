import type { Handlers } from './handler.ts';
import { approvalHandlers } from './handlers/approvals.ts';
import { authorityHandlers } from './handlers/authority.ts';
import { commandHandlers } from './handlers/commands.ts';
import { fileHandlers } from './handlers/files.ts';
import { portHandlers } from './port-handlers.ts';
import { sessionHandlers } from './handlers/sessions.ts';
import { systemHandlers } from './handlers/system.ts';
import { tenantHandlers } from './handlers/tenants.ts';
import { turnHandlers } from './handlers/turns.ts';

/** What is done about each route of the table. */
export const handlers: Handlers = {
  ...systemHandlers,
  ...tenantHandlers,
  ...authorityHandlers,
  ...approvalHandlers,
  ...sessionHandlers,
  ...turnHandlers,
  ...fileHandlers,
  ...commandHandlers,
  ...portHandlers,
};
