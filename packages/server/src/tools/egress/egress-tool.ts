// A rule of where sessions may connect to, as a tool: it has a name, an operation for grants and policies, and settings that its tenant's version covers.
// It is used through the proxy in the guest, not called.

import { BulkheadError, type EgressSettings, egressMethods, egressSchemes } from '@bulkhead/protocol';
import type { Arguments } from '../../authority/arguments.ts';
import { domainsOf } from '../../authority/domains.ts';
import type { Resource, ToolDescription } from '../../authority/tool-description.ts';
import { hasTrueALabels } from '../../lib/a-labels.ts';
import type { Tool } from '../tool.ts';

/** The one operation. */
export const connectOperation = 'connect';

export function describeEgressTool(
  name: string,
  { description }: Pick<EgressSettings, 'description'>,
): ToolDescription {
  return {
    name,
    description,
    operations: {
      [connectOperation]: {
        description: 'A connection from the session to a host, through its proxy.',
        resource: 'Host',
        parameters: {
          host: { kind: 'name', description: 'its name' },
          port: { kind: 'integer', description: 'its port', minimum: 1, maximum: 65_535 },
          scheme: { kind: 'name', description: 'with TLS or without', values: egressSchemes },
          method: { kind: 'name', description: 'of a request without TLS', values: egressMethods, optional: true },
        },
      },
    },
  };
}

/** Errors: `invalid_request` for a host that no name can be. */
export function openEgressTool(name: string, settings: EgressSettings): Tool {
  const wrong = settings.hosts.find((host) => !hasTrueALabels(host.replace('*.', '')));
  if (wrong !== undefined) {
    throw new BulkheadError('invalid_request', `${wrong} has a label that is the ASCII form of nothing.`, {
      details: { field: 'hosts' },
    });
  }
  return {
    description: describeEgressTool(name, settings),
    egress: settings,
    resourceOf: (_, checked) => resourceOfConnection(checked),
    call: () =>
      Promise.reject(new BulkheadError('tool_failed', 'Connections are made through the proxy of the session.')),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** The host, in the domains that it is in: a policy may name any of them. */
export function resourceOfConnection({ value: { host } }: Arguments): Resource {
  const id = typeof host === 'string' ? host : '';
  const [, ...within] = domainsOf(id);
  return { type: 'Host', id, within };
}
