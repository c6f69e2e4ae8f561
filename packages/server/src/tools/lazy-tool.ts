// A tool as its settings say it is, opened when it is first called: what is at the other end may be slow, or gone for a while, and holds up neither a launch
// nor the other tools of its tenant.

import { BulkheadError, type SessionId, type ToolSettings } from '@bulkhead/protocol';
import type { Arguments } from '../authority/arguments.ts';
import type { Resource, ToolDescription } from '../authority/tool-description.ts';
import type { Clock } from '../lib/clock.ts';
import type { Tool, ToolContext, ToolResult } from './tool.ts';
import { describeTool, resourceOfCall } from './tool-kinds.ts';

/** A tool that did not open is not tried again within this time: its callers are many, and it has been asked just now. */
const retryMs = 2000;

export interface LazyToolOptions {
  readonly name: string;
  readonly settings: ToolSettings;
  readonly clock: Clock;
  readonly open: () => Promise<Tool>;
}

export class LazyTool implements Tool {
  readonly description: ToolDescription;
  readonly #options: LazyToolOptions;
  #opened: Promise<Tool> | undefined;
  #retryAtMs = 0;
  #closed = false;

  constructor(options: LazyToolOptions) {
    const { name, settings } = options;
    this.#options = options;
    this.description = describeTool(name, settings);
  }

  resourceOf(operation: string, checked: Arguments): Resource {
    const { name, settings } = this.#options;
    return resourceOfCall(name, settings, operation, checked);
  }

  /** Calls of a tool that does not open are decided, and then fail: why is for operators, not for the code that calls. */
  async call(operation: string, checked: Arguments, context: ToolContext): Promise<ToolResult> {
    let tool: Tool;
    try {
      tool = await this.#open();
    } catch (cause) {
      throw new BulkheadError('tool_failed', 'The tool cannot be opened.', {
        hint: 'Try again later. Its settings are for the operator to look at.',
        cause,
      });
    }
    return await tool.call(operation, checked, context);
  }

  #open(): Promise<Tool> {
    if (this.#closed) return Promise.reject(new BulkheadError('cancelled', 'The tool was taken away meanwhile.'));
    const { clock, open } = this.#options;
    if (this.#opened !== undefined && clock.nowMs() < this.#retryAtMs) return this.#opened;
    const opening = open();
    this.#opened = opening;
    this.#retryAtMs = Number.POSITIVE_INFINITY;
    opening.catch(() => (this.#retryAtMs = clock.nowMs() + retryMs));
    return opening;
  }

  forget(session: SessionId): void {
    void this.#opened?.then(
      (tool) => tool.forget?.(session),
      () => undefined,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const tool = await this.#opened?.catch(() => undefined);
    await tool?.[Symbol.asyncDispose]();
  }
}
