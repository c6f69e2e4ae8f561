// The machine, as QEMU's command line. A template and the machines restored from it must have the same devices in the same
// order; only what is behind the devices differs.

import type { Accelerator, Size, Tier } from '@bulkhead/protocol';

/** Descriptors that every VMM inherits, by number. Nothing of a machine has a name on the host. */
export const descriptors = {
  qmp: 3,
  channel: 4,
  info: 5,
  memory: 6,
  root: 7,
  scratch: 8,
  deviceState: 9,
  savedState: 10,
} as const;
export const firstExtraDescriptor = 11;

/** Translated code that an emulator keeps at most; allocated as it is used. */
export const translationCacheMib = 128;

export interface MachineHardware {
  readonly accelerator: Accelerator;
  readonly size: Size;
}

/** What isolates a machine with this accelerator. */
export function tierOf(accelerator: Accelerator): Tier {
  return accelerator === 'kvm' ? 'vm-kvm' : 'vm-emulated';
}

/** What the first boot needs and a restored machine does not. */
export interface KernelBoot {
  readonly kernelPath: string;
  readonly initramfsPath: string;
  readonly commandLine: string;
  /** Where the console goes, for diagnosis; a session's machine has no console device. */
  readonly consolePath?: string;
}

/** What costs an emulator more than it gives: string instructions byte by byte, a fifth level of page tables, and checks inside the guest. */
const emulatedAway = ['erms=off', 'la57=off', 'smap=off', 'pku=off'];

function acceleratorArguments(accelerator: Accelerator): string[] {
  return accelerator === 'kvm'
    ? ['-accel', 'kvm', '-cpu', 'host']
    : ['-accel', `tcg,tb-size=${translationCacheMib}`, '-cpu', ['max', ...emulatedAway].join(',')];
}

function commonArguments(hardware: MachineHardware, name: string, console: boolean): string[] {
  const { size } = hardware;
  return [
    ['-name', name, '-nodefaults', '-no-user-config', '-no-reboot', '-nographic'],
    ['-M', `microvm,acpi=on,rtc=on,isa-serial=${console ? 'on' : 'off'}`],
    acceleratorArguments(hardware.accelerator),
    ['-m', `${size.memoryMib}M`, '-smp', `${size.vcpus}`],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-chardev', `socket,id=qmp,fd=${descriptors.qmp}`, '-mon', 'chardev=qmp,mode=control'],
    ['-device', 'virtio-serial-device,max_ports=2'],
    ['-chardev', `socket,id=channel,fd=${descriptors.channel}`],
    ['-device', 'virtserialport,chardev=channel,name=bulkhead.channel,nr=1'],
    ['-object', 'rng-builtin,id=rng', '-device', 'virtio-rng-device,rng=rng'],
  ].flat();
}

function diskArguments(set: number, fd: number, node: string, options: string): string[] {
  const backend = `driver=file,node-name=${node},filename=/dev/fdset/${set},locking=off,drop-cache=off,aio=threads,${options}`;
  return ['-add-fd', `fd=${fd},set=${set}`, '-blockdev', backend, '-device', `virtio-blk-device,drive=${node}`];
}

function disksArguments(): string[] {
  return [
    ...diskArguments(1, descriptors.root, 'root', 'read-only=on'),
    ...diskArguments(2, descriptors.scratch, 'scratch', 'discard=unmap,detect-zeroes=unmap,cache.no-flush=on'),
  ];
}

/** Where QEMU writes its device state when it is asked to: a name for the descriptor that it inherited. */
export const savedStatePath = '/dev/fdset/3';

function savedStateArguments(): string[] {
  return ['-add-fd', `fd=${descriptors.savedState},set=3`];
}

function memoryArguments(size: Size, share: boolean): string[] {
  const path = `/proc/self/fd/${descriptors.memory}`;
  const backend = `memory-backend-file,id=ram,size=${size.memoryMib}M,mem-path=${path},share=${share ? 'on' : 'off'},merge=off,dump=off`;
  return ['-object', backend, '-machine', 'memory-backend=ram'];
}

function bootArguments(boot: KernelBoot): string[] {
  const kernel = ['-kernel', boot.kernelPath, '-initrd', boot.initramfsPath, '-append', boot.commandLine];
  return boot.consolePath === undefined ? kernel : [...kernel, '-serial', `file:${boot.consolePath}`];
}

/** A machine that boots from its kernel with its memory in a file, to become a template. */
export function templateArguments(hardware: MachineHardware, name: string, boot: KernelBoot): string[] {
  return [
    ...commonArguments(hardware, name, boot.consolePath !== undefined),
    ...memoryArguments(hardware.size, true),
    ...disksArguments(),
    ...savedStateArguments(),
    ...bootArguments(boot),
  ];
}

/** A machine whose memory is a private copy-on-write mapping of a template's, waiting for its device state, which has no section for the machine's configuration. */
export function restoreArguments(hardware: MachineHardware, name: string): string[] {
  return [
    '-global',
    'migration.send-configuration=off',
    '-S',
    ...savedStateArguments(),
    ...commonArguments(hardware, name, false),
    ...memoryArguments(hardware.size, false),
    ...disksArguments(),
    '-incoming',
    'defer',
  ];
}

/** A machine without disks that only says that it booted. */
export function probeArguments(accelerator: Accelerator, name: string, boot: KernelBoot): string[] {
  const size: Size = { vcpus: 1, memoryMib: 256, scratchMib: 0 };
  return [...commonArguments({ accelerator, size }, name, false), ...bootArguments(boot)];
}

/** The guest kernel's command line. */
export function kernelCommandLine(options: {
  readonly mode: 'session' | 'probe';
  readonly tscKhz?: number;
  readonly console?: boolean;
}): string {
  return [
    options.console === true ? 'console=ttyS0' : 'quiet loglevel=0',
    'panic=-1 mitigations=off random.trust_cpu=on no_timer_check',
    'lsm=yama psi=0 cgroup_disable=memory init_on_alloc=0 randomize_kstack_offset=off nowatchdog transparent_hugepage=madvise',
    ...(options.tscKhz === undefined ? [] : [`tsc_early_khz=${options.tscKhz} tsc=reliable`]),
    `bulkhead.mode=${options.mode}`,
  ].join(' ');
}
