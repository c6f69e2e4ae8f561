import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkKvmDevice, judgeAccelerator } from '../../src/doctor/check-accelerator.ts';
import { checkCgroups } from '../../src/doctor/check-cgroups.ts';
import { checkCoreDumps, checkJail } from '../../src/doctor/check-jail.ts';
import { checkDisk, checkHugePages, checkKsm, checkMemory, checkSwap } from '../../src/doctor/check-memory.ts';
import { checkSmt, checkVulnerabilities } from '../../src/doctor/check-processor.ts';
import { checkErofs, checkMmdebstrap, checkQemu } from '../../src/doctor/check-programs.ts';
import type { CommandResult, HostAccess } from '../../src/doctor/host-access.ts';
import type { CheckStatus, Finding } from '../../src/doctor/host-report.ts';
import { fakeHost } from './fake-host.ts';

const jailUser = { uid: 64_000, gid: 64_000 };
const refused = { exitCode: 1, stderr: 'bwrap: setting up uid map: Permission denied' };

async function judgeQemu(answer?: Partial<CommandResult>): Promise<string> {
  const found = await checkQemu(fakeHost(answer ? { programs: { 'qemu-system-x86_64': answer } } : {}), 100);
  assert.equal('fix' in found, found.status !== 'ok');
  return found.status;
}

test('qemu: there, too old, missing, hanging', async () => {
  assert.equal(await judgeQemu({ stdout: 'QEMU emulator version 8.2.2 (Debian)' }), 'ok');
  assert.equal(await judgeQemu({ stdout: 'QEMU emulator version 7.2.0' }), 'ok');
  assert.equal(await judgeQemu({ stdout: 'QEMU emulator version 6.2.0' }), 'fail');
  assert.equal(await judgeQemu(), 'fail');
  assert.equal(await judgeQemu({ problem: 'timeout', exitCode: null }), 'fail');
});

test('jail: tried as the user that would run a machine', async () => {
  const asRoot = fakeHost({ uid: 0, programs: { setpriv: {} } });
  assert.equal((await checkJail(asRoot, jailUser, 100)).status, 'ok');
  assert.deepEqual(asRoot.commands[0]?.slice(0, 8), [
    'setpriv',
    '--reuid',
    '64000',
    '--regid',
    '64000',
    '--clear-groups',
    '--',
    'bwrap',
  ]);
  const asUser = fakeHost({ programs: { bwrap: {} } });
  assert.equal((await checkJail(asUser, jailUser, 100)).status, 'ok');
  assert.equal(asUser.commands[0]?.[0], 'bwrap');
});

test('jail: a refusal is explained by the setting that causes it', async () => {
  const cases = {
    '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': ['1\n', /AppArmor/, /apparmor_parser/],
    '/proc/sys/kernel/unprivileged_userns_clone': ['0\n', /reserved for root/, /unprivileged_userns_clone=1/],
    '/proc/sys/user/max_user_namespaces': ['0\n', /switched off/, /max_user_namespaces/],
  } as const;
  for (const [path, [text, reason, fix]] of Object.entries(cases)) {
    // As root the trial goes through setpriv, and bwrap itself answers to --version.
    const host = fakeHost({ uid: 0, files: { [path]: text }, programs: { setpriv: refused, bwrap: {} } });
    const found = await checkJail(host, jailUser, 100);
    assert.equal(found.status, 'fail');
    assert.match(found.detail, reason);
    assert.match(found.fix ?? '', fix);
  }
  const unexplained = await checkJail(fakeHost({ uid: 0, programs: { setpriv: refused, bwrap: {} } }), jailUser, 100);
  assert.match(unexplained.detail, /Permission denied/);
  const missing = await checkJail(fakeHost(), jailUser, 100);
  assert.match(missing.detail, /not installed/);
});

test('kvm: the device says little, the boot probe decides', async () => {
  assert.equal((await checkKvmDevice(fakeHost())).status, 'ok');
  const forbidden = await checkKvmDevice(fakeHost({ openErrors: { '/dev/kvm': 'EACCES' } }));
  assert.match(forbidden.fix ?? '', /kvm/);
  const inside = fakeHost({
    openErrors: { '/dev/kvm': 'ENOENT' },
    files: { '/proc/cpuinfo': 'flags\t\t: fpu vme hypervisor lahf_lm\n' },
  });
  const nested = await checkKvmDevice(inside);
  assert.equal(nested.status, 'warn');
  assert.match(nested.detail, /itself a virtual machine/);
  assert.equal(judgeAccelerator({ accelerator: 'kvm', proof: 'p' }).status, 'ok');
  assert.equal(judgeAccelerator({ accelerator: 'tcg', proof: 'p' }).status, 'warn');
  assert.equal(judgeAccelerator({ accelerator: 'none', proof: 'p' }).status, 'fail');
});

test('cgroups: version 2, by making a group and looking what it has', async () => {
  const files = {
    '/proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
    '/proc/self/cgroup': '0::/user.slice/a.scope\n',
  };
  const all = ['memory.max', 'pids.max', 'cpu.max'];
  const delegated = fakeHost({ files, makers: { '/sys/fs/cgroup/user.slice/a.scope': all } });
  assert.equal((await checkCgroups(delegated, 'child')).status, 'ok');
  assert.equal(delegated.folders.size, 0);

  // The own group has processes in it and passes no controllers on; the root of the hierarchy does.
  const atRoot = fakeHost({ files, makers: { '/sys/fs/cgroup/user.slice/a.scope': [], '/sys/fs/cgroup': all } });
  const found = await checkCgroups(atRoot, 'child');
  assert.equal(found.status, 'ok');
  assert.match(found.detail, /below \/sys\/fs\/cgroup\)/);
  assert.equal(atRoot.folders.size, 0);

  const unusable = await checkCgroups(atRoot, 'child', async () => false);
  assert.equal(unusable.status, 'warn');
  assert.match(unusable.detail, /could not use it/);

  const partly = await checkCgroups(fakeHost({ files, makers: { '/sys/fs/cgroup': ['pids.max'] } }), 'child');
  assert.equal(partly.status, 'warn');
  assert.match(partly.detail, /memory, cpu/);
  const forbidden = await checkCgroups(fakeHost({ files }), 'child');
  assert.match(forbidden.detail, /EACCES/);
  assert.match((await checkCgroups(fakeHost(), 'child')).detail, /no cgroup file system/);
});

test('cgroups: version 1, each controller on its own', async () => {
  const files = {
    '/proc/self/mountinfo': [
      '32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu',
      '35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory',
      '39 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids',
      '41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw',
    ].join('\n'),
    '/proc/self/cgroup': '8:pids:/\n4:memory:/own\n1:cpu:/\n0::/\n',
  };
  const working = fakeHost({ files, makers: { '/cg/cpu': [], '/cg/memory/own': [], '/cg/pids': [] } });
  assert.equal((await checkCgroups(working, 'child')).status, 'ok');
  assert.equal(working.folders.size, 0);
  const without = await checkCgroups(fakeHost({ files, makers: { '/cg/cpu': [], '/cg/pids': [] } }), 'child');
  assert.equal(without.status, 'warn');
  assert.match(without.detail, /with memory could be made/);
});

const vulnerabilities = '/sys/devices/system/cpu/vulnerabilities';
/** Each with one file of the host, its text and what is to be said of it. */
const settings: readonly (readonly [(host: HostAccess) => Promise<Finding>, string, string, CheckStatus, RegExp])[] = [
  [checkSwap, '/proc/swaps', 'Filename\tType\n/dev/sda2 partition 1 0 -2\n', 'warn', /\/dev\/sda2/],
  [checkSwap, '/proc/swaps', 'Filename\tType\n/dev/zram0 partition 1 0 -2\n', 'ok', /compressed memory/],
  [checkSwap, '/proc/swaps', 'Filename\tType\n', 'ok', /No swap/],
  [checkKsm, '/sys/kernel/mm/ksm/run', '1\n', 'warn', /is on/],
  [checkKsm, '/sys/kernel/mm/ksm/run', '0\n', 'ok', /is off/],
  [checkKsm, '/elsewhere', '', 'ok', /cannot merge/],
  [checkSmt, '/sys/devices/system/cpu/smt/active', '1\n', 'warn', /is on/],
  [checkSmt, '/sys/devices/system/cpu/smt/active', '0\n', 'ok', /is off/],
  [checkSmt, '/elsewhere', '', 'ok', /does not report/],
  [checkCoreDumps, '/proc/sys/kernel/core_pattern', '|/usr/share/apport/apport -p%p\n', 'warn', /apport\/apport\)/],
  [checkCoreDumps, '/proc/sys/kernel/core_pattern', 'core\n', 'ok', /limits apply/],
  [
    checkVulnerabilities,
    `${vulnerabilities}/mds`,
    'Vulnerable: no microcode\n',
    'warn',
    /mds \(Vulnerable: no microcode\)/,
  ],
  [checkVulnerabilities, `${vulnerabilities}/mds`, 'Mitigation: Clear buffers\n', 'ok', /None of 1/],
  [checkVulnerabilities, '/elsewhere', '', 'warn', /does not report/],
  [checkHugePages, '/sys/kernel/mm/transparent_hugepage/enabled', '[always] madvise never\n', 'ok', /2 MiB/],
  [checkHugePages, '/sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never\n', 'ok', /: madvise, /],
  [checkMemory, '/proc/meminfo', 'MemAvailable: 8388608 kB\n', 'ok', /^8\.0 GiB free.*small 13 /],
  [checkMemory, '/proc/meminfo', 'MemAvailable: 524288 kB\n', 'fail', /small 0 /],
];

test('settings of the kernel, each from its file', async () => {
  for (const [check, path, text, status, detail] of settings) {
    const found = await check(fakeHost({ files: { [path]: text } }));
    assert.equal(found.status, status, `${path}: ${text}`);
    assert.match(found.detail, detail);
  }
});

test('room on the disk', async () => {
  for (const [bytes, status] of [
    [2 ** 40, 'ok'],
    [3 * 2 ** 30, 'warn'],
    [2 ** 20, 'fail'],
  ] as const) {
    assert.equal((await checkDisk(fakeHost({ freeBytes: bytes }), '/cache')).status, status);
  }
});

test('the programs that build images may be missing where an image is there already', async () => {
  for (const check of [checkMmdebstrap, checkErofs]) assert.equal((await check(fakeHost(), 100)).status, 'warn');
  const old = fakeHost({ programs: { 'mkfs.erofs': { stderr: 'Available compressors are: lzma' } } });
  assert.match((await checkErofs(old, 100)).detail, /cannot compress/);
});
