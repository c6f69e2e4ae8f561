import {
  BulkheadError,
  type RuntimeName,
  type SizeName,
  type Tier,
  type TimeLimits,
  defaultTimeLimits,
  runtimeNames,
  sizeNames,
  tiers,
  timeLimitsMaximum,
  timeLimitsMinimum,
} from '@bulkhead/protocol';

const checkpointName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Errors: `invalid_request`. */
export function checkSize(size: SizeName): void {
  checkMember('size', size, sizeNames);
}

/** Errors: `invalid_request`. */
export function checkPlacement(asked: { readonly runtime?: RuntimeName; readonly minimumTier?: Tier }): void {
  if (asked.runtime !== undefined) checkMember('runtime', asked.runtime, runtimeNames);
  if (asked.minimumTier !== undefined) checkMember('minimumTier', asked.minimumTier, tiers);
}

function checkMember(field: string, value: string, expected: readonly string[]): void {
  if (expected.includes(value)) return;
  const what = field === 'minimumTier' ? 'tier' : field;
  throw new BulkheadError('invalid_request', `There is no ${what} ${JSON.stringify(value)}.`, {
    hint: `There is: ${expected.join(', ')}.`,
    details: { field, expected },
  });
}

/** With the defaults filled in. Errors: `invalid_request`. */
export function checkTimeLimits(asked: Partial<TimeLimits> = {}): TimeLimits {
  const checked = { ...defaultTimeLimits, ...asked };
  for (const field of ['idleMs', 'sleepMs', 'lifetimeMs'] as const) {
    const [minimum, maximum] = [timeLimitsMinimum[field], timeLimitsMaximum[field]];
    if (Number.isInteger(checked[field]) && checked[field] >= minimum && checked[field] <= maximum) continue;
    throw new BulkheadError('invalid_request', `${field} has to be between ${minimum} and ${maximum} ms.`, {
      details: { field, minimum, maximum },
    });
  }
  return checked;
}

/** Errors: `invalid_request`. */
export function checkCheckpointName(name: string): void {
  if (checkpointName.test(name)) return;
  throw new BulkheadError(
    'invalid_request',
    'A checkpoint is named with 1 to 64 letters, digits, dots, dashes and underscores.',
    { details: { field: 'name' } },
  );
}
