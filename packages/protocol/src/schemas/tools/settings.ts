// What a tool is set up with: one schema for each kind of tool.

import { z } from 'zod';
import { egressSettings } from './egress.ts';
import { httpSettings } from './http.ts';
import { mcpSettings } from './mcp.ts';
import { s3Settings } from './s3.ts';
import { sqlSettings } from './sql.ts';

export const toolSettingsSchema = z.discriminatedUnion('kind', [
  sqlSettings,
  s3Settings,
  httpSettings,
  mcpSettings,
  egressSettings,
]);
export type ToolSettings = z.output<typeof toolSettingsSchema>;
