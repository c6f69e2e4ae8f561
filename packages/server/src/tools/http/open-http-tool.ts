import type { HttpSettings } from '@bulkhead/protocol';
import { openCredential } from '../credential.ts';
import type { ToolSurroundings } from '../tool.ts';
import { checkHttpOperations } from './http-operations.ts';
import { HttpTool } from './http-tool.ts';

/** Nothing is sent yet. Errors: `invalid_request` for operations that cannot be written as requests, `state_conflict`, those of `secret`. */
export async function openHttpTool(
  name: string,
  settings: HttpSettings,
  { secret, resolve }: ToolSurroundings,
): Promise<HttpTool> {
  checkHttpOperations(settings);
  await openCredential(settings.credential, secret);
  return new HttpTool({ name, settings, secret, resolve });
}
