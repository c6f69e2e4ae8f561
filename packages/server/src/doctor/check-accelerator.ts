import type { Accelerator, Tier } from '@bulkhead/protocol';
import type { Finding } from './host-report.ts';
import type { HostAccess } from './host-access.ts';

/** What booting a tiny guest has shown. `/dev/kvm` can be there, open and answer, and still boot nothing. */
export interface AcceleratorFinding {
  /** False while nothing has been booted; then `accelerator` is what is promised until it is known. */
  readonly tried?: boolean;
  readonly accelerator: Accelerator;
  /** What was tried and what it did, for people. */
  readonly proof: string;
}

export const tierMeanings: Readonly<Record<Tier, string>> = {
  'vm-kvm':
    'Each session is a virtual machine, separated by the processor (KVM). This is the boundary that Bulkhead is made for.',
  'vm-emulated':
    "Each session is a virtual machine that QEMU emulates in software. It behaves the same, but slower, and QEMU's own project does not support emulation as a boundary against hostile code. Use it to develop and to test; for code of strangers use a host with KVM.",
  'user-kernel':
    'Each session runs on a kernel in user space, which shares the host kernel below it. Weaker than a virtual machine.',
  none: 'Nothing separates a session from the host. For the tests of Bulkhead only.',
};

export function tierOf(accelerator: Accelerator): Tier {
  if (accelerator === 'kvm') return 'vm-kvm';
  return accelerator === 'tcg' ? 'vm-emulated' : 'none';
}

export async function checkKvmDevice(host: HostAccess): Promise<Finding> {
  const [code, cpuinfo = ''] = await Promise.all([host.tryOpen('/dev/kvm'), host.readText('/proc/cpuinfo')]);
  const nested = /^flags\s*:.*\bhypervisor\b/m.test(cpuinfo) ? ' This host is itself a virtual machine.' : '';
  if (code === undefined) {
    return { status: 'ok', detail: `/dev/kvm can be opened; whether it boots a guest is tried separately.${nested}` };
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return {
      status: 'warn',
      detail: `/dev/kvm is there, but user ${host.uid} may not open it.${nested}`,
      fix: 'sudo usermod --append --groups kvm "$USER", then log in again',
    };
  }
  return {
    status: 'warn',
    detail: `/dev/kvm cannot be opened (${code}).${nested}`,
    fix:
      nested === ''
        ? 'Switch on virtualisation (AMD-V or VT-x) in the firmware and load the module kvm_amd or kvm_intel.'
        : 'Use a machine or an instance type that passes virtualisation on.',
  };
}

export function judgeAccelerator(found: AcceleratorFinding): Finding {
  if (found.tried === false) {
    return {
      status: 'warn',
      detail: `Whether KVM works is not known: ${found.proof}`,
      fix: 'Build the image, which has the guest that is booted to find out: bulkhead image build',
    };
  }
  if (found.accelerator === 'kvm') return { status: 'ok', detail: `KVM works: ${found.proof}` };
  if (found.accelerator === 'tcg') {
    return {
      status: 'warn',
      detail: `KVM does not work here, so machines are emulated: ${found.proof}`,
      fix: 'Use a host whose /dev/kvm boots guests: bare metal, or an instance with nested virtualisation.',
    };
  }
  return {
    status: 'fail',
    detail: `No accelerator works: ${found.proof}`,
    fix: 'Look at the lines for qemu and jail first.',
  };
}
