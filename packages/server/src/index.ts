export type { Runtime, Machine, LaunchSpec, RuntimeCapabilities } from './runtimes/runtime.ts';
