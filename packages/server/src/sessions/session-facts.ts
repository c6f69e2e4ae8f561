import type { SessionFacts } from '../authority/decision-point.ts';
import type { Clock } from '../lib/clock.ts';
import type { SessionRecord } from './session-record.ts';

/** What policies may know of a session, now. */
export function sessionFacts(
  session: SessionRecord,
  { tenantName, disabledSubjects }: { readonly tenantName: string; readonly disabledSubjects?: ReadonlySet<string> },
  { clock, region }: { readonly clock: Clock; readonly region: string },
): SessionFacts {
  const { id, tenant, subject, labels, tier, runtime, turnCount, parent, grant } = session;
  const ageSeconds = Math.max(0, Math.floor((clock.unixMs() - session.createdAtUnixMs) / 1000));
  const known = { id, tenant, tenantName, subject, labels, tier, runtime, turnCount, grant, region, ageSeconds };
  return { ...known, isFork: parent !== null, subjectDisabled: disabledSubjects?.has(subject) ?? false };
}
