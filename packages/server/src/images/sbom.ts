// The packages of an image as an SPDX 2.3 document (https://spdx.github.io/spdx-spec/v2.3/).

import type { ImageManifest, ImagePackage } from './image.ts';

const noAssertion = 'NOASSERTION';

/** The SBOM of an image, ready to be written as JSON. It says the same for the same recipe, packages and time. */
export function makeSbom(manifest: Omit<ImageManifest, 'files'>): Readonly<Record<string, unknown>> {
  const root = 'SPDXRef-image';
  const packages = manifest.packages.map((entry) => describePackage(entry));
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `bulkhead-guest-image-${manifest.digest.slice(0, 12)}`,
    documentNamespace: `https://spdx.org/spdxdocs/bulkhead-guest-image-${manifest.digest}-${Date.parse(manifest.createdAt)}`,
    creationInfo: {
      created: manifest.createdAt.replace(/\.\d+Z$/, 'Z'),
      creators: [
        'Tool: bulkhead-image-build',
        ...Object.entries(manifest.tools).map(([name, v]) => `Tool: ${name}-${v}`),
      ],
    },
    packages: [
      {
        SPDXID: root,
        name: 'bulkhead-guest-image',
        versionInfo: manifest.digest,
        downloadLocation: noAssertion,
        filesAnalyzed: false,
        licenseConcluded: noAssertion,
        licenseDeclared: noAssertion,
        copyrightText: noAssertion,
        primaryPackagePurpose: 'OPERATING-SYSTEM',
      },
      ...packages,
    ],
    relationships: [
      { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: root },
      ...packages.map((entry) => ({
        spdxElementId: root,
        relationshipType: 'CONTAINS',
        relatedSpdxElement: entry.SPDXID,
      })),
    ],
  };

  function describePackage(entry: ImagePackage) {
    const { name, version, architecture, sha256, homepage } = entry;
    return {
      // Letters, digits, dots and dashes are all that an SPDX id may have.
      SPDXID: `SPDXRef-deb-${`${name}-${architecture}`.replace(/[^A-Za-z0-9.-]/g, (c) => `-${c.charCodeAt(0)}-`)}`,
      name,
      versionInfo: version,
      supplier: 'Organization: Debian',
      downloadLocation: noAssertion,
      filesAnalyzed: false,
      licenseConcluded: noAssertion,
      licenseDeclared: noAssertion,
      copyrightText: noAssertion,
      ...(homepage === undefined ? {} : { homepage }),
      checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
      externalRefs: [
        {
          referenceCategory: 'PACKAGE-MANAGER',
          referenceType: 'purl',
          referenceLocator: `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=${manifest.suite}`,
        },
      ],
    };
  }
}
