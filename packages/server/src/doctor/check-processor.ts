import type { Finding } from './host-report.ts';
import type { HostAccess } from './host-access.ts';

export async function checkSmt(host: HostAccess): Promise<Finding> {
  const active = (await host.readText('/sys/devices/system/cpu/smt/active'))?.trim();
  if (active === undefined)
    return { status: 'ok', detail: 'This kernel does not report simultaneous multithreading (SMT).' };
  if (active !== '1')
    return { status: 'ok', detail: 'Simultaneous multithreading (SMT) is off, or not seen from here.' };
  return {
    status: 'warn',
    detail:
      'Simultaneous multithreading (SMT) is on: two sessions may share a core and learn about each other by timing.',
    fix: 'echo off | sudo tee /sys/devices/system/cpu/smt/control, or the kernel parameter nosmt',
  };
}

const vulnerabilityFolder = '/sys/devices/system/cpu/vulnerabilities';

export async function checkVulnerabilities(host: HostAccess): Promise<Finding> {
  const names = await host.listNames(vulnerabilityFolder);
  const states = await Promise.all(
    names.map(async (name) => [name, ((await host.readText(`${vulnerabilityFolder}/${name}`)) ?? '').trim()] as const),
  );
  if (states.length === 0) {
    return { status: 'warn', detail: 'This kernel does not report the vulnerabilities of its processor.' };
  }
  const open = states.filter(([, state]) => state.startsWith('Vulnerable'));
  if (open.length === 0) {
    return { status: 'ok', detail: `None of ${states.length} known vulnerabilities of processors is open.` };
  }
  return {
    status: 'warn',
    detail: `Open vulnerabilities of the processor, as the kernel reports them: ${open.map(([name, state]) => `${name} (${state})`).join(', ')}.`,
    fix: 'Update the microcode and the kernel, and do not switch mitigations off. In a virtual machine, its host decides.',
  };
}
