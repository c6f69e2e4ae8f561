/** The bounds of what a guest may ask for and of what may be written about it. */
export const authorityLimits = {
  argumentsMaxBytes: 1_048_576,
  argumentsMaxDepth: 16,
  argumentsMaxValues: 10_000,
  textMaxLength: 262_144,
  nameMaxLength: 256,
  namesMaxCount: 1000,
  pathMaxLength: 1024,
  /** Of a file in a guest that is an argument; of all those of one session's calls under way; of all of the host's. */
  fileMaxBytes: 67_108_864,
  sessionFilesMaxBytes: 67_108_864,
  hostFilesMaxBytes: 536_870_912,
  policiesMaxCount: 2000,
  policyTextMaxBytes: 1_048_576,
  /** Versions of policies that are ready to be asked, and the parts of them that are about one action. */
  policySetsMaxCount: 64,
  policySlicesMaxCount: 128,
} as const;
