import { loadConfig, openBulkhead } from '@bulkhead/server';
import { localTenant as tenant } from './src/local-session.ts';
import { readFileSync, fstatSync } from 'node:fs';
const variant = process.argv[2];
await using b = await openBulkhead(loadConfig(), { keep: true });
const s = await b.sessions.createSession({ tenant });
const turn = async (code: string) => {
  const t = await b.sessions.takeTurn(tenant, s.id, { code });
  const r = await t.result;
  return r.stdout + (r.error?.message ?? '');
};
console.log(await turn('import subprocess; p=subprocess.Popen(["sleep","1000"]); x=1; print(x)'));
for (let i = 0; i < 3; i++) {
  if (variant === 'wake') {
    await b.sessions.suspendSession(tenant, s.id);
    await b.sessions.resumeSession(tenant, s.id);
  }
  const machine = [...((b.sessions as any)['x'] ?? [])];
  const a = await b.sessions.checkpointSession(tenant, s.id, 'one');
  await b.sessions.suspendSession(tenant, s.id);
  try {
    console.log(i, a.bytes, await turn('x += 1; print(x, p.poll())'));
  } catch (e: any) {
    console.log(i, 'FAILED', e.message, e.cause?.message, e.cause?.cause?.message);
    break;
  }
}
await b.sessions.terminateSession(tenant, s.id);
