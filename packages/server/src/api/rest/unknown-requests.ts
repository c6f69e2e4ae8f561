// Requests that no route takes: a path that is not there, a method that a path does not take, and what is no HTTP at all.

import { BulkheadError, makeId, routeList } from '@bulkhead/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Socket } from 'node:net';
import { problemHeaders, problemType, toProblem } from './problems.ts';

/** The methods of each path of the table. */
const known: readonly { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [
  ...Map.groupBy(routeList, ({ path }) => path),
].map(([path, routes]) => ({
  pattern: new RegExp(`^${path.replaceAll(/[.]/g, '\\.').replaceAll(/\{[a-z]+\}/g, '[^/]+')}$`),
  methods: routes.map(({ method }) => method),
}));

/** The router knows a path only together with a method. */
export function notFoundHandler(request: FastifyRequest, reply: FastifyReply): never {
  const [path = ''] = (request.raw.url ?? '').split('?');
  const methods = known.filter(({ pattern }) => pattern.test(path)).flatMap((entry) => entry.methods);
  if (methods.length === 0) {
    throw new BulkheadError('not_found', 'There is no such route.', { hint: 'GET /v1/openapi.json has all of them.' });
  }
  const allow = methods.toSorted().join(', ');
  void reply.header('allow', allow);
  throw new BulkheadError('method_not_allowed', `This path takes ${allow}.`, { details: { allow: methods } });
}

/** What Node could not read as a request. There is no reply to answer with: the problem is written as it is, and the connection ends. */
export function answerUnparsed(error: Error & { readonly code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET' || socket.destroyed) {
    socket.destroy();
    return;
  }
  const problem = unparsedError(error.code);
  const body = JSON.stringify(toProblem(problem, makeId('request')));
  const { status } = toProblem(problem, '');
  const headers = {
    ...problemHeaders(problem),
    'content-type': problemType,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  socket.end(
    `HTTP/1.1 ${status} ${status === 413 ? 'Content Too Large' : 'Bad Request'}\r\n${lines.join('\r\n')}\r\n\r\n${body}`,
  );
}

function unparsedError(code: string | undefined): BulkheadError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new BulkheadError('limit_exceeded', 'The headers of the request are larger than a request may have.');
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new BulkheadError('invalid_request', 'The request did not arrive in time.');
  }
  return new BulkheadError('invalid_request', 'This is no HTTP request.');
}
