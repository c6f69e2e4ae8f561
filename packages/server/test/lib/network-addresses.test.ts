import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressRefused, isAllowedAddress, resolveAllowed } from '../../src/lib/network-addresses.ts';

test('public addresses pass, and nothing that leads inside', () => {
  for (const address of ['93.184.215.14', '1.1.1.1', '172.32.0.1', '2606:4700::1111', '2a00:1450:4001::200e']) {
    assert.ok(isAllowedAddress(address, []), address);
  }
  const inside = `0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192
    192.168.1.1 198.18.0.1 203.0.113.7 224.0.0.1 240.0.0.1 255.255.255.255 168.63.129.16 :: ::1 ::ffff:8.8.8.8 ::ffff:10.0.0.1 ::7f00:1 64:ff9b::a00:1
    64:ff9b:1::1 2002:a00:1:: 2001:0:1:: 2001:db8::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1 5f00::1 4000::1 localhost
    127.1 0x7f000001 2130706433 1.1.1.1/8`;
  for (const address of inside.split(/\s+/)) assert.ok(!isAllowedAddress(address, []), address);
});

test('a range that is named passes, and only in its own family', () => {
  assert.ok(isAllowedAddress('10.1.2.3', ['10.1.0.0/16']));
  assert.ok(!isAllowedAddress('10.2.2.3', ['10.1.0.0/16']));
  assert.ok(!isAllowedAddress('::ffff:10.1.2.3', ['10.1.0.0/16']));
  assert.ok(isAllowedAddress('fd00::5', ['fd00::/64', '10.0.0.0/8']));
  assert.ok(!isAllowedAddress('fd01::5', ['fd00::/64', '::/128']));
});

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
