// What hostile code sees from inside: no network, nothing of the host, nobody else.

import assert from 'node:assert/strict';
import { networkInterfaces, hostname } from 'node:os';
import { test } from 'node:test';
import { openSession, output, turn, useBulkhead, value } from './support.ts';

const bulkhead = useBulkhead();

test('there is no network: no interface but loopback, and nothing answers', async () => {
  await using session = await openSession(bulkhead());
  // First, and alone: only when there is nothing to send through may the test try to send.
  assert.deepEqual(await value<string[]>(session, 'sorted(__import__("os").listdir("/sys/class/net"))'), ['lo']);
  assert.equal(await output(session, 'cat /proc/net/route | wc -l', 'bash'), '1', 'a routing table with a route in it');

  const hostAddresses = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map(({ address }) => address),
  );
  const targets = ['169.254.169.254', ...hostAddresses.filter((address) => !/^(127\.|::1$|fe80:)/.test(address))];
  const probe = `
import json, socket
def attempt(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        try:
            sock.connect((address.split("%")[0], 80))
            return "connected"
        except OSError as error:
            return type(error).__name__ + ":" + str(error.errno)
def resolve(name):
    try:
        return socket.getaddrinfo(name, 80)[0][4][0]
    except OSError as error:
        return type(error).__name__
print(json.dumps({"connect": {a: attempt(a) for a in ${JSON.stringify(targets)}}, "resolve": resolve("bulkhead.invalid")}))`;
  const seen = JSON.parse(await output(session, probe)) as { connect: Record<string, string>; resolve: string };
  for (const [address, outcome] of Object.entries(seen.connect)) {
    assert.match(outcome, /^OSError:(101|99|97)$/, `${address}: ${outcome}`); // unreachable, no such address, no such family
  }
  assert.equal(seen.resolve, 'gaierror');

  // The control: loopback inside the guest works, so a connection would have been seen.
  const control = `
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), timeout=5)
print("connected")`;
  assert.equal(await output(session, control), 'connected');
});

test('nothing of the host is in the environment, in /proc or among the devices', async () => {
  process.env['BULKHEAD_TEST_CANARY'] = 'canary-4c1f';
  await using session = await openSession(bulkhead());
  const everything = await output(
    session,
    'env; cat /proc/*/environ /proc/cmdline /proc/mounts /etc/hostname /etc/hosts 2>/dev/null | tr "\\0" "\\n"; ls -R /dev',
    'bash',
  );
  delete process.env['BULKHEAD_TEST_CANARY'];
  assert.ok(everything.includes('HOME=/home/user'), 'the control: the environment was printed');
  assert.ok(!everything.includes('canary-4c1f'));
  assert.ok(!everything.includes(`\n${hostname()}\n`), "the host's name");
  const devices = await value<string[]>(session, 'sorted(__import__("os").listdir("/dev"))');
  for (const name of ['kvm', 'fuse', 'vsock', 'vhost-net', 'vhost-vsock', 'sda', 'vdc']) {
    assert.ok(!devices.includes(name), `/dev/${name}`);
  }
  const model = await output(session, 'cat /sys/class/dmi/id/* 2>/dev/null; true', 'bash');
  assert.ok(!model.includes(hostname()));
});

test('guest code is an ordinary user and cannot read the channel or the agent', async () => {
  await using session = await openSession(bulkhead());
  assert.equal(await value<number>(session, '__import__("os").getuid()'), 1000);
  const attempts = [
    'cat /dev/virtio-ports/bulkhead.channel',
    'echo x > /dev/vport0p1',
    'cat /proc/1/environ',
    'cat /etc/shadow',
    'kill -9 1',
    'insmod /modules/x.ko',
    'dmesg',
    'mount -t tmpfs x /mnt',
  ];
  for (const command of attempts) {
    const result = await turn(session, command, { language: 'bash', timeoutMs: 20_000 });
    assert.equal(result.status, 'error', `${command} succeeded: ${result.stdout}`);
  }
  assert.equal(await output(session, 'print(1)'), '1', 'the session still answers');
});

test('the root file system of one session is not the one of another', async () => {
  await using first = await openSession(bulkhead());
  await using second = await openSession(bulkhead());
  await output(first, 'echo planted > /tmp/planted; echo planted > ~/planted; echo planted > /dev/shm/planted', 'bash');
  assert.equal(await output(first, 'cat /tmp/planted', 'bash'), 'planted');
  const others = 'ls /tmp/planted ~/planted /dev/shm/planted 2>/dev/null | wc -l';
  assert.equal(await output(second, others, 'bash'), '0');
  await using third = await openSession(bulkhead());
  assert.equal(await output(third, others, 'bash'), '0', 'a session launched after the planting');
});
