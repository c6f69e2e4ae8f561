import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parseCgroupMounts, parseOwnCgroups } from '../../src/doctor/check-cgroups.ts';
import { parseMeminfo } from '../../src/lib/meminfo.ts';
import { parseChoice, parseSwaps, sessionRoom } from '../../src/doctor/check-memory.ts';
import { hasLz4hc, parseQemuVersion } from '../../src/doctor/check-programs.ts';

test('the version of QEMU, as Debian and upstream print it', () => {
  const debian =
    'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers\n';
  assert.deepEqual(parseQemuVersion(debian), { major: 7, minor: 2, text: '7.2.22' });
  assert.deepEqual(parseQemuVersion('QEMU emulator version 10.1.0-rc2\n'), { major: 10, minor: 1, text: '10.1.0-rc2' });
  assert.equal(parseQemuVersion('Segmentation fault'), undefined);
});

test('the compressors of mkfs.erofs, in the form of 1.5 and of 1.7', () => {
  assert.equal(hasLz4hc('usage: ...\n\nAvailable compressors are: lz4hc, lz4\n'), true);
  assert.equal(hasLz4hc('Available compressors are: lzma\n'), false);
  assert.equal(hasLz4hc('usage:\n -zX[,level]\n    lz4\n    lz4hc\n      [,level=<0-12>]\n'), true);
});

test('hierarchies of control groups among all mounts', () => {
  const hybrid = [
    '23 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
    '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct',
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory',
    String.raw`41 31 0:38 / /mnt/two\040words rw,relatime - cgroup2 cgroup2 rw`,
    '',
  ].join('\n');
  assert.deepEqual(parseCgroupMounts(hybrid), [
    { version: 1, path: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['rw', 'cpu', 'cpuacct'] },
    { version: 1, path: '/sys/fs/cgroup/memory', controllers: ['rw', 'memory'] },
    { version: 2, path: '/mnt/two words', controllers: [] },
  ]);
});

test('the own group in each hierarchy', () => {
  const own = parseOwnCgroups('8:pids:/a\n4:cpu,cpuacct:/b/c\n0::/user.slice/x.scope\n');
  assert.deepEqual(Object.fromEntries(own), {
    pids: '/a',
    cpu: '/b/c',
    cpuacct: '/b/c',
    '': '/user.slice/x.scope',
  });
});

test('memory and swap', () => {
  const meminfo = parseMeminfo('MemTotal:       24593432 kB\nMemAvailable:   1024 kB\nHugePages_Total:       0\n');
  assert.equal(meminfo.get('MemAvailable'), 1_048_576);
  assert.equal(meminfo.has('HugePages_Total'), false);
  const swaps =
    'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2                               partition\t8388604\t\t0\t\t-2\n';
  assert.deepEqual(parseSwaps(swaps), ['/dev/sda2']);
  assert.deepEqual(parseSwaps('Filename\tType\n'), []);
  assert.equal(parseChoice('always [madvise] never\n'), 'madvise');
  assert.equal(parseChoice(''), undefined);
});

test('more memory never means room for fewer sessions, and an idle session never needs more than a full one', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 42 }), fc.nat({ max: 2 ** 40 }), (bytes, more) => {
      const before = sessionRoom(bytes);
      const after = sessionRoom(bytes + more);
      for (const size of ['small', 'medium', 'large'] as const) {
        assert.ok(before[size].full >= 0 && before[size].idle >= 0);
        assert.ok(after[size].full >= before[size].full && after[size].idle >= before[size].idle);
        if (before[size].full > 1) assert.ok(before[size].idle >= before[size].full);
      }
    }),
  );
});

test('no parser throws, whatever it is given', () => {
  const parsers = [
    parseQemuVersion,
    hasLz4hc,
    parseCgroupMounts,
    parseOwnCgroups,
    parseMeminfo,
    parseSwaps,
    parseChoice,
  ];
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      for (const parse of parsers) parse(text);
    }),
  );
});
