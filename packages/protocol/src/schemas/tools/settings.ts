// What a tool is set up with: one schema for each kind of tool.

import { z } from 'zod';
import { s3Settings } from './s3.ts';
import { sqlSettings } from './sql.ts';

export const toolSettingsSchema = z.discriminatedUnion('kind', [sqlSettings, s3Settings]);
export type ToolSettings = z.output<typeof toolSettingsSchema>;
