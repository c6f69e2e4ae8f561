import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BulkheadError } from '@bulkhead/protocol';
import { loadConfig } from '../../src/config/config.ts';

describe('the configuration', () => {
  it('has defaults for everything', () => {
    const config = loadConfig({ HOME: '/home/me' });
    assert.equal(config.cacheDir, '/home/me/.cache/bulkhead');
    assert.equal(config.stateDir, '/home/me/.local/state/bulkhead');
    assert.deepEqual(
      [config.accelerator, config.shareTemplatePages, config.runtime, config.color],
      ['auto', false, 'auto', true],
    );
  });

  it('prefers the more specific variable, and an empty one is none', () => {
    const env = { HOME: '/h', XDG_CACHE_HOME: '/x', BULKHEAD_CACHE_DIR: '' };
    assert.equal(loadConfig(env).cacheDir, '/x/bulkhead');
    assert.equal(loadConfig({ ...env, BULKHEAD_CACHE_DIR: '/c' }).cacheDir, '/c');
    assert.equal(loadConfig({ ...env, NO_COLOR: '1' }).color, false);
  });

  it('reports every problem at once', () => {
    const env = {
      HOME: '/h',
      BULKHEAD_ACCELERATOR: 'warp',
      BULKHEAD_CACHE_DIR: 'here',
      BULKHEAD_SHARE_TEMPLATE_PAGES: 'x',
    };
    assert.throws(
      () => loadConfig(env),
      (error) => {
        assert.ok(BulkheadError.is(error, 'config_invalid'));
        assert.deepEqual(error.details?.['problems'], [
          'BULKHEAD_CACHE_DIR: not valid (got "here", expected an absolute path)',
          'BULKHEAD_ACCELERATOR: not one of the allowed values (got "warp", expected auto, kvm, tcg)',
          'BULKHEAD_SHARE_TEMPLATE_PAGES: not one of the allowed values (got "x", expected 0, 1, false, true)',
        ]);
        return true;
      },
    );
  });

  it('refuses the fake runtime unless it is allowed as well', () => {
    assert.throws(() => loadConfig({ HOME: '/h', BULKHEAD_RUNTIME: 'fake' }), { code: 'config_invalid' });
    assert.equal(loadConfig({ HOME: '/h', BULKHEAD_RUNTIME: 'fake', BULKHEAD_ALLOW_FAKE: '1' }).runtime, 'fake');
  });

  it('needs to know where the cache is', () => {
    assert.throws(() => loadConfig({}), { code: 'config_invalid' });
    assert.equal(loadConfig({ XDG_CACHE_HOME: '/x' }).cacheDir, '/x/bulkhead');
  });
});
