// A server that is about to be killed: launches a machine, says which, and waits. For contract.test.ts.

import { makeId } from '@bulkhead/protocol';
import { loadConfig, openRuntimes } from '@bulkhead/server';

const { first } = await openRuntimes(loadConfig());
await first.prepare('small');
const machine = await first.launch({ tenant: makeId('tenant'), session: makeId('session'), size: 'small' });
process.stdout.write(`${[machine.id, ...machine.hostPids].join(' ')}\n`);
await machine.exited;
