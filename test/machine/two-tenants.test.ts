// The example with two tenants, as `script/demo-authority` runs it: it checks itself.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { useBulkhead } from './support.ts';

useBulkhead(); // makes image and template where they are not there yet
const demo = join(import.meta.dirname, '../../examples/two-tenants/demo.ts');

test('what a hostile session tries is refused, on record, and nothing of the other tenant is found', (context) => {
  const result = spawnSync(process.execPath, ['--conditions=bulkhead-source', demo, '--json'], {
    encoding: 'utf8',
    timeout: 300_000,
  });
  assert.equal(result.status, 0, result.stdout + result.stderr);
  const { attempts, checks } = JSON.parse(result.stdout) as {
    readonly attempts: readonly { readonly end: string; readonly decisions: readonly string[] }[];
    readonly checks: Readonly<Record<string, boolean>>;
  };
  const refused = attempts.filter(({ end, decisions }) => end !== 'harmless' && decisions.length > 0);
  context.diagnostic(`${refused.length} of ${attempts.length} attempts were refused, each on record`);
  assert.ok(refused.length >= 25);
  assert.ok(Object.values(checks).every(Boolean), JSON.stringify(checks));
});
