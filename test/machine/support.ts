// What the tests on real machines share: one Bulkhead a file, sessions in it, and turns that must succeed.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, describe } from 'node:test';
import { type Language, type RuntimeName, type TenantId, type TurnResult, makeId } from '@bulkhead/protocol';
import {
  type Bulkhead,
  type Config,
  type Machine,
  type SessionHandle,
  loadConfig,
  openBulkhead,
  tryRuntimes,
} from '@bulkhead/server';

/** What `define` registers, once on each runtime that makes machines; where a host lacks one, that is said. */
export async function onEveryRuntime(define: (runtime: RuntimeName) => void): Promise<void> {
  for (const runtime of ['qemu', 'gvisor'] as const) {
    await using tried = await tryRuntimes({ ...loadConfig(), runtime });
    const absent = tried.absences.map(({ why }) => why).join(' ');
    describe(`on ${runtime}`, absent === '' ? {} : { skip: absent }, () => define(runtime));
  }
}

/** Opens Bulkhead and does `ready` before the tests of a file or suite, and closes it after them; the function gives it, open. */
export function useBulkhead(
  ready?: (bulkhead: Bulkhead) => Promise<void>,
  runtime: Config['runtime'] = loadConfig().runtime,
): () => Bulkhead {
  let bulkhead: Bulkhead | undefined;
  before(async () => {
    bulkhead = await openBulkhead({ ...loadConfig(), runtime });
    await bulkhead.runtime.prepare('small', { onProgress: (message) => console.error(message) });
    await ready?.(bulkhead);
  });
  after(async () => {
    await bulkhead?.[Symbol.asyncDispose]();
    bulkhead = undefined;
  });
  return () => {
    assert.ok(bulkhead, 'Bulkhead is open during the tests');
    return bulkhead;
  };
}

export function openSession(bulkhead: Bulkhead, tenant: TenantId = makeId('tenant')): Promise<SessionHandle> {
  return bulkhead.sessions.createSession({ tenant, size: 'small' });
}

export async function launchMachine(bulkhead: Bulkhead, tenant: TenantId = makeId('tenant')): Promise<Machine> {
  return bulkhead.runtime.launch({ tenant, session: makeId('session'), size: 'small' });
}

export function turn(
  session: SessionHandle,
  code: string,
  options: { readonly language?: Language; readonly timeoutMs?: number; readonly context?: string } = {},
): Promise<TurnResult> {
  return session.startTurn({ code, ...options }).result;
}

/** A turn that must succeed; its standard output without the last line's end. */
export async function output(session: SessionHandle, code: string, language: Language = 'python'): Promise<string> {
  const result = await turn(session, code, { language });
  assert.equal(result.status, 'ok', result.exception?.traceback ?? JSON.stringify(result.error));
  return result.stdout.replace(/\n$/, '');
}

/** A Python expression's value, by way of JSON. */
export async function value<T>(session: SessionHandle, expression: string): Promise<T> {
  return JSON.parse(await output(session, `import json; print(json.dumps(${expression}))`)) as T;
}

/** Host processes whose command line holds `text`. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((entry) => {
      try {
        return readFileSync(`/proc/${entry}/cmdline`, 'latin1').includes(text);
      } catch {
        return false; // it ended while we looked
      }
    })
    .map(Number);
}

/** Waits for a condition; fails with `what` when it does not come true in time. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) assert.fail(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
