import { domainToASCII, domainToUnicode } from 'node:url';

/** Whether every label of a name that begins with `xn--` is the ASCII form of something, and the one that it has (RFC 5890, 2.3.2.1). */
export function hasTrueALabels(name: string): boolean {
  const unicode = domainToUnicode(name);
  return !/(?:^|\.)xn--/.test(unicode) && domainToASCII(unicode) === name;
}
