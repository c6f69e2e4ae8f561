// What a tool is to policies and to a guest: its name, and the operations that it has. What carries them out is in `tools/`.

import type { Parameters } from './parameters.ts';

/** What an operation works on, as policies name it. The kinds of the schema (cedar-schema.ts). */
export const resourceTypes = ['Object', 'Prefix', 'Database', 'Query', 'Endpoint', 'Server', 'Host'] as const;
export type ResourceType = (typeof resourceTypes)[number];

export interface OperationDescription {
  /** A sentence, for people and models. */
  readonly description: string;
  readonly parameters: Parameters;
  readonly resource: ResourceType;
}

export interface ToolDescription {
  /** `[a-z][a-z0-9_]*`: the name of a module's member in the guest, too. */
  readonly name: string;
  readonly description: string;
  readonly operations: Readonly<Record<string, OperationDescription>>;
}

/** What one call works on: an entity, and those that it lies in, from the nearest to the farthest. */
export interface Resource {
  readonly type: ResourceType;
  readonly id: string;
  readonly within: readonly { readonly type: 'Prefix' | 'Bucket' | 'Database' | 'Host'; readonly id: string }[];
}

export const toolNamePattern = /^[a-z][a-z0-9_]{0,62}$/;

/** How grants, policies and records name an operation. */
export function actionName(tool: string, operation: string): string {
  return `${tool}.${operation}`;
}
