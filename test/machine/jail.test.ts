// The second wall, read from the host: what the VMM process of a live session is and has.

import assert from 'node:assert/strict';
import { openSync, closeSync, readFileSync, readdirSync, readlinkSync, writeSync, readSync } from 'node:fs';
import { test } from 'node:test';
import { launchMachine, output, openSession, useBulkhead } from './support.ts';

const bulkhead = useBulkhead();
const isRoot = process.getuid?.() === 0;

function status(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
}

test('the VMM is an ordinary user without capabilities, under seccomp, in namespaces of its own', async () => {
  await using machine = await launchMachine(bulkhead());
  const [pid = 0] = machine.hostPids;
  const facts = status(pid);
  assert.match(facts['Name'] ?? '', /^qemu-system/);
  const uids = (facts['Uid'] ?? '').split('\t').map(Number);
  if (isRoot)
    assert.ok(
      uids.every((uid) => uid >= 600_000_000),
      `uids ${uids.join(' ')}`,
    );
  else assert.ok(uids.every((uid) => uid === process.getuid?.()));
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.match(facts[set] ?? '', /^0+$/, set);
  assert.equal(facts['Seccomp'], '2');
  assert.equal(facts['NoNewPrivs'], '1');
  assert.equal(facts['NSpid']?.split('\t').at(-1), '1', 'process 1 of its pid namespace');
  for (const namespace of ['pid', 'mnt', 'net', 'ipc', 'uts', 'user']) {
    const own = readlinkSync(`/proc/self/ns/${namespace}`);
    assert.notEqual(readlinkSync(`/proc/${pid}/ns/${namespace}`), own, `${namespace} namespace`);
  }
});

test(
  'two machines have two users and two sets of namespaces',
  { skip: isRoot ? false : 'without root all machines run as one user' },
  async () => {
    await using first = await launchMachine(bulkhead());
    await using second = await launchMachine(bulkhead());
    const [a = 0] = first.hostPids;
    const [b = 0] = second.hostPids;
    assert.notEqual(status(a)['Uid'], status(b)['Uid']);
    for (const namespace of ['pid', 'mnt', 'net', 'ipc', 'uts', 'user']) {
      assert.notEqual(readlinkSync(`/proc/${a}/ns/${namespace}`), readlinkSync(`/proc/${b}/ns/${namespace}`));
    }
  },
);

test('the VMM has only the expected files open', async () => {
  await using machine = await launchMachine(bulkhead());
  const [pid = 0] = machine.hostPids;
  const expected = [
    /^\/dev\/null$/,
    /^pipe:/,
    /^socket:/,
    /^anon_inode:\[(eventfd|signalfd|eventpoll|io_uring)\]$/,
    /^\/memfd:bulkhead-template \(deleted\)$/,
    /\/root\.erofs$/,
    /\/scratch\/[^/]+ \(deleted\)$/,
    /^\/memfd:bulkhead-device-state \(deleted\)$/,
  ];
  const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const strange = files.filter((file) => !expected.some((pattern) => pattern.test(file)));
  assert.deepEqual(strange, []);
  assert.equal(
    files.filter((file) => file.startsWith('socket:')).length,
    3,
    'the control connection, the channel and standard error',
  );
});

test('the VMM sees next to nothing of the host, and can write to none of it', async () => {
  await using machine = await launchMachine(bulkhead());
  const [pid = 0] = machine.hostPids;
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .map(([, , , , path = '', options = '']) => ({ path, options }));
  assert.ok(mounts.length > 3, 'the control: mounts were read');
  for (const { path, options } of mounts) {
    if (path === '/proc' || path.startsWith('/proc/') || path.startsWith('/dev')) continue;
    assert.match(options, /^ro,/, `${path} is writable: ${options}`);
  }
  const paths = new Set(mounts.map(({ path }) => path));
  for (const forbidden of ['/home', '/etc', '/var', '/root', '/sys', '/run', '/tmp'])
    assert.ok(!paths.has(forbidden), forbidden);
});

test('the template cannot be written from the jail, and a session cannot change it', async () => {
  await using machine = await launchMachine(bulkhead());
  const [pid = 0] = machine.hostPids;
  const template = readdirSync(`/proc/${pid}/fd`).find((fd) =>
    readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('/memfd:bulkhead-template'),
  );
  assert.ok(template !== undefined);
  const path = `/proc/${pid}/fd/${template}`;
  // As the most powerful attacker there is: root on the host, through the VMM's own descriptor.
  const fd = openSync(path, 'r+');
  try {
    const page = Buffer.alloc(16);
    readSync(fd, page, 0, 16, 4096);
    assert.throws(() => writeSync(fd, Buffer.alloc(16, 1), 0, 16, 4096), { code: 'EPERM' });
    const again = Buffer.alloc(16);
    readSync(fd, again, 0, 16, 4096);
    assert.deepEqual(again, page);
  } finally {
    closeSync(fd);
  }
});

test('two tenants do not map the same template pages', async () => {
  const inode = (pid: number): string => {
    const line = readFileSync(`/proc/${pid}/maps`, 'utf8')
      .split('\n')
      .find((text) => text.includes('/memfd:bulkhead-template'));
    assert.ok(line !== undefined);
    return line.trim().split(/\s+/)[4] ?? '';
  };
  await using one = await launchMachine(bulkhead());
  await using sameTenant = await launchMachine(bulkhead(), one.spec.tenant);
  await using other = await launchMachine(bulkhead());
  assert.equal(inode(one.hostPids[0] ?? 0), inode(sameTenant.hostPids[0] ?? 0), 'the control: one tenant, one copy');
  assert.notEqual(inode(one.hostPids[0] ?? 0), inode(other.hostPids[0] ?? 0));
});

test('the record of a session says the tier of its machine', async () => {
  await using session = await openSession(bulkhead());
  assert.equal(session.record.tier, bulkhead().runtime.capabilities.tier);
  assert.ok(['vm-kvm', 'vm-emulated'].includes(session.record.tier));
  assert.equal(await output(session, 'print("up")'), 'up');
});
