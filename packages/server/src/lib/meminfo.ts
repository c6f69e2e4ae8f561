/** The values of `/proc/meminfo` in bytes (proc(5): the unit is kB there, meaning 1,024 bytes). */
export function parseMeminfo(text: string): ReadonlyMap<string, number> {
  return new Map([...text.matchAll(/^([^:\n]+):\s+(\d+) kB$/gm)].map(([, key = '', kib]) => [key, Number(kib) * 1024]));
}
