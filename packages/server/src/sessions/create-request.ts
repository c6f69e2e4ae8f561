import {
  BulkheadError,
  type Labels,
  type RuntimeName,
  type SizeName,
  type Tier,
  type TimeLimits,
  defaultTimeLimits,
  labelKeySchema,
  labelValueSchema,
  limits,
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

const subjectPattern = /^[\x21-\x7e]+$/;

/** Errors: `invalid_request`. */
export function checkSubject(subject: string): string {
  if (subject.length <= limits.subjectMaxLength && subjectPattern.test(subject)) return subject;
  throw new BulkheadError(
    'invalid_request',
    `A subject is 1 to ${limits.subjectMaxLength} printable ASCII characters without spaces.`,
    { details: { field: 'subject' } },
  );
}

/** Errors: `invalid_request`. */
export function checkLabels(labels: Labels): Labels {
  const entries = Object.entries(labels);
  if (entries.length > limits.labelsMaxCount) throw badLabel(`There are at most ${limits.labelsMaxCount} labels.`);
  for (const [key, value] of entries) {
    if (!labelKeySchema.safeParse(key).success) {
      throw badLabel('A label is named with 1 to 63 small letters, digits, dots, dashes, underscores and slashes.');
    }
    if (!labelValueSchema.safeParse(value).success || !value.isWellFormed()) {
      throw badLabel(
        `The value of a label is text of at most ${limits.labelValueMaxLength} characters without control characters.`,
      );
    }
  }
  return Object.fromEntries(entries);
}

function badLabel(message: string): BulkheadError {
  return new BulkheadError('invalid_request', message, { details: { field: 'labels' } });
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
