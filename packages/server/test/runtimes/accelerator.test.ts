// Whether the jail's user can open /dev/kvm, before anything is booted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { whyClosedToJail } from '../../src/runtimes/qemu/accelerator.ts';

const cases: readonly { readonly mode: number; readonly gid: number; readonly open: boolean }[] = [
  { mode: 0o20660, gid: 107, open: true },
  { mode: 0o20666, gid: 0, open: true },
  { mode: 0o20600, gid: 0, open: false },
  { mode: 0o20640, gid: 107, open: false },
  // The group of root would give QEMU more than the device.
  { mode: 0o20660, gid: 0, open: false },
];
for (const { mode, gid, open } of cases) {
  test(`a device of mode ${(mode & 0o777).toString(8)} and group ${gid} is ${open ? 'open' : 'closed'} to the jail`, () => {
    const why = whyClosedToJail(mode, gid);
    assert.equal(why === undefined, open, why);
    if (why !== undefined) assert.match(why, /chgrp kvm \/dev\/kvm/);
  });
}
