// The API, as data: every route, by the name of its operation.

import type { RouteSpec } from './route.ts';
import { approvalRoutes } from './routes/approvals.ts';
import { authorityRoutes } from './routes/authority.ts';
import { commandRoutes, fileRoutes, portRoutes } from './routes/guest.ts';
import { sessionRoutes, turnRoutes } from './routes/sessions.ts';
import { systemRoutes } from './routes/system.ts';
import { tenantRoutes } from './routes/tenants.ts';

export const routes = {
  ...systemRoutes,
  ...tenantRoutes,
  ...authorityRoutes,
  ...approvalRoutes,
  ...sessionRoutes,
  ...turnRoutes,
  ...fileRoutes,
  ...commandRoutes,
  ...portRoutes,
} as const;

export type Routes = typeof routes;
export type Operation = keyof Routes;

/** Every route with its operation, for whatever is derived from the table. */
export const routeList: readonly (RouteSpec & { readonly operation: Operation })[] = Object.entries(routes).map(
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of a closed object
  ([operation, route]) => ({ ...(route as RouteSpec), operation: operation as Operation }),
);
