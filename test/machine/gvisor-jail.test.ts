// What stands between a container's sandbox and the host, seen from the host; and that nothing weaker is given to who must not have it.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { makeId } from '@bulkhead/protocol';
import { type Machine, loadConfig, tryRuntimes } from '@bulkhead/server';
import { findMachines } from '../../packages/server/src/runtimes/machine-name.ts';
import { launchMachine, openSession, output, turn, useBulkhead } from './support.ts';

async function whyAbsent(): Promise<string> {
  await using tried = await tryRuntimes({ ...loadConfig(), runtime: 'gvisor' });
  return tried.absences.map(({ why }) => why).join(' ');
}

const absent = await whyAbsent();
const command = join(import.meta.dirname, '../../bulkhead');
const status = (pid: number, field: string): string =>
  new RegExp(`^${field}:\\s+(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
const namespaceOf = (pid: number | 'self', name: string): string => readlinkSync(`/proc/${pid}/ns/${name}`);

function processOf(machine: Machine, program: string): number {
  const found = findMachines().find((each) => each.id === machine.id && each.program === program);
  assert.ok(found !== undefined, `it has a process ${program}`);
  return found.pid;
}

describe('the walls of a container', absent === '' ? {} : { skip: absent }, () => {
  const bulkhead = useBulkhead(undefined, 'gvisor');

  test('the sandbox is nobody, filtered, without new privileges, in namespaces of its own', async () => {
    await using machine = await launchMachine(bulkhead());
    const sandbox = processOf(machine, 'runsc-sandbox');
    assert.equal(machine.hostPids[0], sandbox);
    assert.match(status(sandbox, 'Uid'), /^65534\t65534\t65534\t65534$/);
    assert.equal(status(sandbox, 'Seccomp'), '2');
    assert.equal(status(sandbox, 'NoNewPrivs'), '1');
    // Not of processes: the platform ptrace traces its own from outside. The filter and the user namespace keep it from all others.
    for (const name of ['user', 'mnt', 'net', 'ipc', 'uts']) {
      assert.notEqual(namespaceOf(sandbox, name), namespaceOf('self', name), name);
    }
    assert.deepEqual(
      readdirSync(`/proc/${sandbox}/root/`).filter((name) => !['proc', 'etc'].includes(name)),
      [],
    );
  });

  test("the gofer sees the image's root and nothing else of the host; runsc's socket is nobody else's", async () => {
    await using machine = await launchMachine(bulkhead());
    const gofer = processOf(machine, 'runsc-gofer');
    assert.notEqual(namespaceOf(gofer, 'mnt'), namespaceOf('self', 'mnt'));
    assert.equal(status(gofer, 'Seccomp'), '2');
    const inside = readdirSync(`/proc/${gofer}/root/`);
    assert.ok(!inside.includes('home') || !statSync(`/proc/${gofer}/root/home`).isFile());
    const sockets = readFileSync('/proc/net/unix', 'utf8');
    assert.ok(!sockets.includes(machine.id), 'the control socket is not in the network namespace of the host');
  });

  test('no machine can write to the root that they share', async () => {
    await using one = await openSession(bulkhead());
    const before = await output(one, 'sha256sum /etc/passwd /usr/bin/env | sha256sum', 'bash');
    const tried = await turn(one, 'echo x >> /etc/passwd', { language: 'bash' });
    assert.equal(tried.error?.code, 'turn_failed');
    await using other = await openSession(bulkhead());
    assert.equal(await output(other, 'sha256sum /etc/passwd /usr/bin/env | sha256sum', 'bash'), before);
  });

  test('who insists on a virtual machine is refused with a typed error, and nothing is started', async () => {
    const tenant = makeId('tenant');
    await assert.rejects(bulkhead().sessions.createSession({ tenant, minimumTier: 'vm-emulated' }), {
      code: 'tier_unavailable',
    });
    assert.deepEqual(
      (await bulkhead().runtime.list()).filter((found) => found.tenant === tenant),
      [],
    );
    const result = spawnSync(command, ['run', '--json', '--minimum-tier', 'vm-emulated', 'print(1)'], {
      encoding: 'utf8',
      env: { ...process.env, BULKHEAD_RUNTIME: 'gvisor' },
      timeout: 30_000,
    });
    const { error, tier } = JSON.parse(result.stdout) as { error: { code: string; message: string }; tier: unknown };
    assert.deepEqual([result.status, error.code, tier], [69, 'tier_unavailable', null]);
    assert.match(error.message, /requires vm-emulated.*gvisor \(user-kernel\).*Nothing was started/);
  });

  test('what it is says itself everywhere', async () => {
    await using session = await openSession(bulkhead());
    assert.deepEqual([session.record.runtime, session.record.tier], ['gvisor', 'user-kernel']);
    assert.equal((await turn(session, '1')).status, 'ok');
  });
});
