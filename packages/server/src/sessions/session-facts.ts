import type { SessionFacts } from '../authority/decision-point.ts';
import type { SessionRecord } from './session-record.ts';

/** What policies may know of a session. */
export function sessionFacts(
  session: SessionRecord,
  {
    tenantName,
    region,
    nowUnixMs,
  }: { readonly tenantName: string; readonly region: string; readonly nowUnixMs: number },
): SessionFacts {
  const { id, tenant, subject, labels, tier, runtime, turnCount, parent, grant } = session;
  const ageSeconds = Math.max(0, Math.floor((nowUnixMs - session.createdAtUnixMs) / 1000));
  const known = { id, tenant, tenantName, subject, labels, tier, runtime, turnCount, grant, region, ageSeconds };
  return { ...known, isFork: parent !== null };
}
