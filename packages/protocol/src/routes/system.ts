import type { RouteSpec } from '../route.ts';
import { healthSchema, limitsSchema, readinessSchema, runtimeList, templatePage } from '../schemas/system.ts';
import { pageQuery } from '../schemas/common.ts';
import { callerSchema } from '../schemas/tenants.ts';
import { z } from 'zod';

export const systemRoutes = {
  getHealth: {
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the process lives.',
    tag: 'system',
    scope: 'public',
    status: 200,
    answer: healthSchema,
    errors: [],
  },
  getReadiness: {
    method: 'GET',
    path: '/readyz',
    summary: 'Whether it takes sessions: store, runtime and templates are there. 503 while not.',
    tag: 'system',
    scope: 'public',
    status: 200,
    answer: readinessSchema,
    errors: [],
  },
  getOpenApi: {
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This API as an OpenAPI 3.1 document.',
    tag: 'system',
    scope: 'public',
    status: 200,
    answer: z.record(z.string(), z.unknown()).meta({ id: 'OpenApiDocument' }),
    errors: [],
  },
  getCaller: {
    method: 'GET',
    path: '/v1/caller',
    summary: 'Who is asking, and what they may do.',
    tag: 'system',
    scope: 'caller',
    status: 200,
    answer: callerSchema,
    errors: [],
  },
  getLimits: {
    method: 'GET',
    path: '/v1/limits',
    summary: 'Every bound, the sizes of machines and the languages.',
    tag: 'system',
    scope: 'caller',
    status: 200,
    answer: limitsSchema,
    errors: [],
  },
  listTemplates: {
    method: 'GET',
    path: '/v1/templates',
    summary: 'The guest images of the server’s host, newest first.',
    tag: 'system',
    scope: 'caller',
    query: z.strictObject(pageQuery),
    status: 200,
    answer: templatePage,
    errors: [],
  },
  listRuntimes: {
    method: 'GET',
    path: '/v1/runtimes',
    summary: 'What makes machines on the server’s host, with the tier of each.',
    tag: 'system',
    scope: 'caller',
    status: 200,
    answer: runtimeList,
    errors: [],
  },
} as const satisfies Readonly<Record<string, RouteSpec>>;
