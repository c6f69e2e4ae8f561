import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCatalogue } from '@bulkhead/protocol';
import { readCheckoutFile } from './checkout.ts';

interface Section {
  readonly title: string;
  readonly exitCode: number;
  readonly status: number;
  readonly retry: string;
}

/** The sections of docs/errors.md: a heading with the code, the title, and one line of facts. */
function readSections(): ReadonlyMap<string, Section> {
  const sections = new Map<string, Section>();
  for (const part of readCheckoutFile('docs/errors.md').split(/^## /m).slice(1)) {
    const code = /^`([a-z_]+)`$/m.exec(part)?.[1];
    if (code === undefined) continue;
    assert.equal(sections.has(code), false, `${code} has two sections`);
    const facts = /^Exit code (\d+) · HTTP status (\d+) · retry (\w+) · session still usable: \S.*$/m.exec(part);
    assert.ok(facts, `${code}: no line of facts in the form of the others`);
    for (const label of ['**What happened.**', '**What to do.**']) assert.ok(part.includes(label), `${code}: ${label}`);
    sections.set(code, {
      title: /^\*(.+)\*$/m.exec(part)?.[1] ?? '',
      exitCode: Number(facts[1]),
      status: Number(facts[2]),
      retry: facts[3] ?? '',
    });
  }
  return sections;
}

test('docs/errors.md has a section for every code of the catalogue, and no other, and says the same', () => {
  const expected = Object.fromEntries(
    Object.entries(errorCatalogue).map(([code, { title, exitCode, status, retry }]) => [
      code,
      { title, exitCode, status, retry },
    ]),
  );
  assert.deepEqual(Object.fromEntries(readSections()), expected);
});
