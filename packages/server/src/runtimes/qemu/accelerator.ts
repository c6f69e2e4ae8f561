// Which accelerator truly works here. /dev/kvm may open, make machines and still never run one, so the answer comes from booting:
// the image's own kernel under KVM has a few seconds to say hello. The answer is kept for this kernel, QEMU, processor and image.

import { createHash } from 'node:crypto';
import { accessSync, closeSync, constants, lstatSync, openSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import type { Accelerator } from '@bulkhead/protocol';
import { z } from 'zod';
import type { Image } from '../../images/image.ts';
import { errnoOf } from '../../lib/errno.ts';
import { ownerMark } from '../../lib/owner.ts';
import type { JailOptions } from './jail.ts';
import { kvmAccess } from './jail.ts';
import { firstExtraDescriptor, kernelCommandLine, probeArguments } from './qemu-command.ts';
import { Vmm } from './vmm.ts';

const probeTimeoutMs = 4000;

export interface AcceleratorFinding {
  readonly accelerator: Accelerator;
  /** How we know, in a sentence. */
  readonly proof: string;
}

export interface ProbeOptions {
  readonly cacheDir: string;
  readonly image: Image;
  readonly qemuVersion: string;
  readonly jail: JailOptions;
  readonly wanted: 'auto' | 'kvm' | 'tcg';
}

/** The accelerator for this host; with `wanted: 'kvm'` a host without it is the caller's to refuse. */
export async function findAccelerator(options: ProbeOptions): Promise<AcceleratorFinding> {
  if (options.wanted === 'tcg')
    return { accelerator: 'tcg', proof: 'emulation was asked for (BULKHEAD_ACCELERATOR=tcg)' };
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    const code = errnoOf(error) ?? 'unknown';
    return { accelerator: 'tcg', proof: `/dev/kvm cannot be used (${code})` };
  }
  const { mode, gid } = lstatSync('/dev/kvm');
  const closed = options.jail.root ? whyClosedToJail(mode, gid) : undefined;
  if (closed !== undefined) return { accelerator: 'tcg', proof: closed };
  const inputs = [release(), options.qemuVersion, cpus()[0]?.model, options.image.digest, mode, gid];
  const key = createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 32);
  const path = join(options.cacheDir, 'accelerators', `${key}.json`);
  const remembered = await readFile(path, 'utf8').then(parseFinding, () => undefined);
  if (remembered !== undefined) return remembered;
  const finding = await probeKvm(options);
  await mkdir(join(options.cacheDir, 'accelerators'), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.${process.pid}`, JSON.stringify(finding));
  await rename(`${path}.${process.pid}`, path);
  return finding;
}

/** Why a device of this mode and group cannot be used by QEMU, which is not root even when we are; undefined when it can. */
export function whyClosedToJail(mode: number, gid: number): string | undefined {
  const anybody = (mode & 0o006) === 0o006;
  const group = (mode & 0o060) === 0o060 && gid !== 0;
  if (anybody || group) return undefined;
  return `/dev/kvm is for root alone (mode ${(mode & 0o777).toString(8)}, group ${gid}), and QEMU does not run as root; \`groupadd --force --system kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm\` opens it`;
}

const findingSchema = z.object({ accelerator: z.enum(['kvm', 'tcg']), proof: z.string() });

/** A remembered answer that cannot be read is no answer: the probe runs again. */
function parseFinding(text: string): AcceleratorFinding | undefined {
  try {
    return findingSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function probeKvm(options: ProbeOptions): Promise<AcceleratorFinding> {
  const files = [openSync(options.image.kernelPath, 'r'), openSync(options.image.initramfsPath, 'r')];
  const boot = {
    kernelPath: `/proc/self/fd/${firstExtraDescriptor}`,
    initramfsPath: `/proc/self/fd/${firstExtraDescriptor + 1}`,
    commandLine: kernelCommandLine({ mode: 'probe' }),
  };
  const jail: JailOptions = { ...options.jail, kvm: kvmAccess() };
  const vmm = new Vmm(jail, probeArguments('kvm', `bulkhead-probe:${ownerMark}`, boot), { extra: files });
  const started = performance.now();
  try {
    const said = new Promise<string>((resolve) => {
      let text = '';
      vmm.channel.on('error', () => undefined);
      vmm.channel.on('data', (chunk: Buffer) => {
        text = (text + chunk.toString('latin1')).slice(-256);
        if (text.includes('bulkhead-probe-ok')) resolve('ok');
      });
    });
    const silent = new Promise<string>((resolve) => setTimeout(resolve, probeTimeoutMs, 'silent').unref());
    const outcome = await Promise.race([said, silent, vmm.exited.then((words) => `QEMU ended: ${words}`)]);
    const elapsedMs = Math.round(performance.now() - started);
    if (outcome === 'ok') return { accelerator: 'kvm', proof: `a guest booted under KVM in ${elapsedMs} ms` };
    const why = outcome === 'silent' ? `a guest under KVM said nothing for ${probeTimeoutMs / 1000} s` : outcome;
    return { accelerator: 'tcg', proof: `/dev/kvm is there and does not work: ${why}` };
  } finally {
    await vmm.kill();
    for (const fd of files) closeSync(fd);
  }
}
