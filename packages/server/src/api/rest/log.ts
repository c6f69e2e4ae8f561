// The log of the server: a line of JSON for each answer and for what fails. What is in it is chosen field by field; the names of secrets are taken out
// wherever they turn up all the same, so that a line that somebody adds later does not give one away.

import type { FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';

export interface LogOptions {
  readonly level: string;
  readonly stream: { write(line: string): void };
}

const secretNames = [
  'authorization',
  'cookie',
  'set-cookie',
  'secret',
  'token',
  'password',
  'code',
  'stdin',
  'stdout',
  'stderr',
];
const paths = secretNames.flatMap((name) => ['', '*.', '*.*.'].map((depth) => `${depth}["${name}"]`));

export function loggerOptions({ level, stream }: LogOptions): NonNullable<FastifyServerOptions['logger']> {
  return {
    level,
    stream,
    base: null,
    redact: { paths, censor: '(removed)' },
    serializers: {
      // The path alone: a query may hold a path in a guest, a command, a token.
      req: ({ method, url }: FastifyRequest) => ({ method, path: url.split('?')[0] ?? '' }),
      err: describeError,
    },
  };
}

export function describeError(thrown: unknown): {
  readonly type: string;
  readonly message: string;
  readonly stack: string;
} {
  if (!(thrown instanceof Error)) return { type: 'unknown', message: '', stack: '' };
  const { cause } = thrown;
  const causes = cause === undefined ? '' : `\ncaused by ${describeError(cause).stack}`;
  return { type: thrown.name, message: thrown.message, stack: `${thrown.stack ?? ''}${causes}` };
}

/** One line for each answer. */
export function answerLine(request: FastifyRequest, reply: FastifyReply): Readonly<Record<string, unknown>> {
  const caller = request.admitted?.caller ?? null;
  return {
    method: request.method,
    route: request.routeOptions.url ?? null,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime * 10) / 10,
    ip: request.ip,
    ...(caller === null ? {} : { tenant: caller.tenant, subject: caller.subject, key: caller.key }),
  };
}
