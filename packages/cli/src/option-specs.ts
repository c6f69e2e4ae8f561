// Options that several commands have.

import type { OptionSpec } from './command.ts';

export const json: OptionSpec = { type: 'boolean', help: 'print JSON instead of text' };
export const quiet: OptionSpec = { type: 'boolean', short: 'q', help: 'no progress, no summary' };
export const help: OptionSpec = { type: 'boolean', short: 'h', help: 'show this help' };
export const server: OptionSpec = {
  type: 'string',
  value: 'URL',
  help: 'the server to ask; "none": none, it is done on this host; unless said, see `bulkhead help login`',
};
