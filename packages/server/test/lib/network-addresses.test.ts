import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressRefused, resolveAllowed } from '../../src/lib/network-addresses.ts';

test('a host is at all of its addresses', async () => {
  const both = [
    { address: '93.184.215.14', family: 4 },
    { address: '10.0.0.1', family: 4 },
  ];
  await assert.rejects(
    resolveAllowed('a.test', [], () => Promise.resolve(both)),
    AddressRefused,
  );
  assert.deepEqual(await resolveAllowed('a.test', ['10.0.0.0/8'], () => Promise.resolve(both)), both);
  await assert.rejects(
    resolveAllowed('a.test', [], () => Promise.resolve([])),
    /no address/,
  );
  const never = (): never => assert.fail('an address is not resolved');
  await assert.rejects(resolveAllowed('[::1]', [], never), AddressRefused);
  assert.deepEqual(await resolveAllowed('[::1]', ['::1/128'], never), [{ address: '::1', family: 6 }]);
});
