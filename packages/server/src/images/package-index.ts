// Reads stanzas of a Debian package index (deb-control(5)) into the packages of a manifest.

import type { ImagePackage } from './image.ts';

/** Sorted by name. Throws when a stanza lacks what identifies a package. */
export function parsePackageIndex(text: string): readonly ImagePackage[] {
  const byKey = new Map<string, ImagePackage>();
  for (const stanza of text.split(/\n{2,}/)) {
    if (stanza.trim() === '') continue;
    const fields = new Map(
      [...stanza.matchAll(/^([A-Za-z0-9-]+): *(.*)$/gm)].map((match) => [match[1] ?? '', match[2] ?? '']),
    );
    const name = required(fields, 'Package');
    const source = fields.get('Source');
    const homepage = fields.get('Homepage');
    const version = required(fields, 'Version');
    byKey.set(`${name} ${version}`, {
      name,
      version,
      architecture: required(fields, 'Architecture'),
      sha256: required(fields, 'SHA256'),
      ...(source === undefined ? {} : { source }),
      ...(homepage === undefined ? {} : { homepage }),
    });
  }
  return [...byKey.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function required(fields: ReadonlyMap<string, string>, name: string): string {
  const value = fields.get(name);
  if (value === undefined || value === '') throw new Error(`a package in the index has no field ${name}`);
  return value;
}
