// A server under load that is about to be killed: says on standard output, a JSON line each, what it was answered. For crash.test.ts.

import { type SessionId, type TenantId, parseId } from '@bulkhead/protocol';
import { loadConfig, openBulkhead } from '@bulkhead/server';
import { mulberry32 } from '../../packages/server/src/runtimes/fake/fake-runtime.ts';

const [seed = '1', tenantText = ''] = process.argv.slice(2);
const tenant = parseId('tenant', tenantText);
if (tenant === undefined) throw new Error('which tenant?');
const { sessions } = await openBulkhead(loadConfig(), { keep: true });

function tell(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

async function act(random: () => number, whose: TenantId, lane: number, step: number): Promise<void> {
  const alive = sessions
    .listSessions(whose)
    .filter(({ endedAtUnixMs }) => endedAtUnixMs === null)
    .filter((_, index) => index % lanes === lane);
  const chosen = alive[Math.floor(random() * alive.length)];
  const dice = random();
  if (chosen === undefined || (dice < 0.15 && alive.length < 8)) {
    await sessions.createSession({ tenant: whose });
    return;
  }
  const { id } = chosen;
  if (dice < 0.4) await takeTurn(whose, id, `${seed}-${lane}-${step}`);
  else if (dice < 0.85) await sessions.suspendSession(whose, id);
  else if (dice < 0.95) await sessions.forkSession(whose, id);
  else {
    await sessions.terminateSession(whose, id);
    tell({ terminated: id });
  }
}

async function takeTurn(whose: TenantId, id: SessionId, token: string): Promise<void> {
  const code = `open("log", "a").write("${token}\\n"); print("${token}")`;
  const turn = await sessions.takeTurn(whose, id, { code });
  const { status, stdout } = await turn.result;
  if (status === 'ok') tell({ turn: turn.id, session: id, stdout });
}

const lanes = 3;
tell({ open: true });
await Promise.all(
  Array.from({ length: lanes }, async (_, lane) => {
    const random = mulberry32(Number(seed) * lanes + lane);
    for (let step = 0; ; step++) await act(random, tenant, lane, step).catch(() => undefined);
  }),
);
