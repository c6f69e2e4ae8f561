import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { AddressRule } from '../../src/lib/address-rule.ts';

const metadata = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  '100.100.100.200',
  '168.63.129.16',
  '192.0.0.192',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '::a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b:1::a9fe:a9fe',
  '2002:a9fe:a9fe::1',
];
const disguised = [
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '::127.0.0.1',
  '64:ff9b::10.0.0.1',
  '2002:7f00:1::',
  '2001:0:a00:1::',
];
const special = [
  '127.0.0.1',
  '127.255.255.254',
  '10.0.0.1',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '100.64.0.1',
  '100.127.255.255',
  '192.0.0.8',
  '192.0.2.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.7',
  '203.0.113.9',
  '240.0.0.1',
  '::1',
  'fc00::1',
  'fd12:3456::1',
  '2001:db8::1',
  '2001:2::1',
  '3fff::1',
  '4000::1',
  'fec0::1',
  '100::1',
];
const never = [
  '0.0.0.0',
  '0.1.2.3',
  '224.0.0.1',
  '239.255.255.255',
  '255.255.255.255',
  '169.254.0.1',
  '::',
  'fe80::1',
  'ff02::1',
];
const open = ['8.8.8.8', '1.1.1.1', '172.32.0.1', '100.128.0.1', '2606:4700:4700::1111', '2a00:1450:4001::1'];

test('what is public is allowed, and nothing else', () => {
  const rule = new AddressRule([]);
  for (const address of open) assert.ok(rule.allows(address), address);
  for (const address of [...metadata, ...disguised, ...special, ...never]) assert.ok(!rule.allows(address), address);
  for (const text of [
    '',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '127.1',
    'example.com',
    'fe80::1%lo',
    '2606:4700::1%eth0',
    '8.8.8.8 ',
  ]) {
    assert.ok(!rule.allows(text), text);
  }
});

test('a network that is named is allowed, but nothing that is never reached', () => {
  const rule = new AddressRule(['127.0.0.1/32', '10.1.0.0/16', '::1/128']);
  for (const address of ['127.0.0.1', '10.1.2.3', '::1']) assert.ok(rule.allows(address), address);
  for (const address of ['127.0.0.2', '10.2.0.1', '::2']) assert.ok(!rule.allows(address), address);
  const all = new AddressRule(['0.0.0.0/0', '::/0']);
  for (const address of special) assert.ok(all.allows(address), address);
  for (const address of [...metadata, ...disguised, ...never]) assert.ok(!all.allows(address), address);
});

test('an IPv4 address is no more allowed as IPv6 than by itself', () => {
  const rule = new AddressRule([]);
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      assert.ok(!rule.allows(`::ffff:${address}`));
      assert.ok(!rule.allows(`64:ff9b::${address}`));
      assert.ok(!rule.allows(`::${address}`));
    }),
  );
});
