// What a tool is set up with: one schema for each kind of tool.

import { z } from 'zod';
import { egressSettings } from './egress.ts';
import { sqlSettings } from './sql.ts';

export const toolSettingsSchema = z.discriminatedUnion('kind', [egressSettings, sqlSettings]);
export type ToolSettings = z.output<typeof toolSettingsSchema>;
