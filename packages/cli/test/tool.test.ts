import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { httpSettings } from '@bulkhead/protocol';
import { callCli } from './run-cli.ts';

const document = JSON.stringify({
  openapi: '3.1.0',
  servers: [{ url: 'https://api.example.net' }],
  paths: {
    '/a/{b}': { get: { operationId: 'getA', parameters: [{ name: 'b', in: 'path', schema: { type: 'string' } }] } },
    '/c': { get: { operationId: 'no\u001b[31m', parameters: [{ name: 'x', in: 'cookie' }] } },
  },
});

test('tool import-openapi prints settings as the server takes them, and says what it leaves out', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'bulkhead-tool-'));
  try {
    writeFileSync(join(cwd, 'market.json'), document);
    const all = await callCli(['tool', 'import-openapi', 'market.json'], { cwd });
    assert.equal(all.exitCode, 0, all.stderr);
    assert.equal(all.stderr, 'left out: no [31m: the parameter x is in a cookie\n');
    const settings = httpSettings.parse(JSON.parse(all.stdout));
    assert.deepEqual([settings.origin, Object.keys(settings.operations)], ['https://api.example.net', ['get_a']]);
    const one = await callCli(
      ['tool', 'import-openapi', 'market.json', '--operations', 'getA', '--origin', 'http://x.test'],
      { cwd },
    );
    assert.equal(httpSettings.parse(JSON.parse(one.stdout)).origin, 'http://x.test');
    for (const [args, words] of [
      [
        ['import-openapi', 'market.json', '--operations', 'getA,GET /c'],
        /cannot be taken: the parameter x is in a cookie/,
      ],
      [['import-openapi', 'market.json', '--operations', 'gone'], /no operation "gone"/],
      [['import-openapi'], /takes one file/],
      [['import'], /Did you mean/],
    ] as const) {
      const refused = await callCli(['tool', ...args], { cwd });
      assert.equal(refused.exitCode, 2);
      assert.match(refused.stderr, words);
      assert.equal(refused.stdout, '');
    }
  } finally {
    rmSync(cwd, { recursive: true });
  }
});
