// The servers that tests of object stores run against. moto speaks as AWS does; SeaweedFS also enforces what a session's credentials are bound to.

import { preparePython } from './python-environment.ts';
import { prepareSeaweedfs } from './seaweedfs.ts';

/** The interpreter that has moto. Throws what pip said. */
export function prepareMoto(): Promise<string> {
  return preparePython('script/requirements-moto.txt');
}

/** Both, for the tests that follow. What fails is told by them. */
export async function prepareObjectServers(): Promise<void> {
  await Promise.allSettled([prepareMoto(), prepareSeaweedfs()]);
}
