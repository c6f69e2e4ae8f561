/** Every bound of the wire contract. Bytes, milliseconds and counts; the unit is the last word of the name. */
export const limits = {
  /** Code of one turn. */
  codeMaxBytes: 16_777_216,
  /** stdout and stderr kept of one turn, together; what exceeds it is counted, not kept. */
  turnOutputMaxBytes: 8_388_608,
  /** One rich result (a MIME bundle) and all of one turn together. */
  resultMaxBytes: 8_388_608,
  turnResultsMaxBytes: 33_554_432,
  turnResultsMaxCount: 256,
  /** Events kept of one turn, whatever their size. */
  turnEventsMaxCount: 65_536,
  turnTimeoutDefaultMs: 120_000,
  turnTimeoutMaxMs: 28_800_000,
  /** From the interrupt at the deadline to the kill of the interpreter. */
  interruptGraceMs: 1_500,
  /** From the kill to the destruction of a machine that does not confirm it. */
  killGraceMs: 10_000,
  launchTimeoutMs: 10_000,
  /** Until a server begins with the machine of a new session; one that would wait for longer is refused. */
  launchWaitMaxMs: 30_000,
  /** Children of one fork. */
  forksMaxCount: 100,
  /** Streams open at once on one channel. */
  streamsMaxCount: 64,
  contextsMaxCount: 16,
  backgroundProcessesMaxCount: 32,
  pathMaxBytes: 4096,
  fileListMaxCount: 10_000,
  traceDepthMaxCount: 200,
  /** A body in JSON; the content of a file has no bound but the guest's disk. */
  bodyMaxBytes: 33_554_432,
  jsonDepthMaxCount: 32,
  jsonValuesMaxCount: 10_000,
  pageMaxCount: 200,
  pageDefaultCount: 50,
  cursorMaxLength: 512,
  /** Events of a page; a stream has no end but the turn's. */
  eventPageMaxCount: 1000,
  toolsMaxCount: 100,
  toolOperationsMaxCount: 200,
  toolParametersMaxCount: 64,
  secretsMaxCount: 200,
  secretMaxLength: 16_384,
  policyTextMaxLength: 1_048_576,
  grantEntriesMaxCount: 500,
  egressHostsMaxCount: 100,
  egressAddressesMaxCount: 16,
  /** Connections out of one session at once. */
  egressConnectionsMaxCount: 16,
  /** Subjects of one tenant that are disabled. */
  disabledSubjectsMaxCount: 1000,
  /** Calls that wait for a person at once. */
  approvalsPerSessionMaxCount: 8,
  approvalsPerTenantMaxCount: 200,
  approvalReasonMaxLength: 1000,
  labelsMaxCount: 32,
  labelValueMaxLength: 256,
  subjectMaxLength: 256,
  idempotencyKeyMaxLength: 255,
  /** How long the answer to an idempotency key is kept. */
  idempotencyKeptMs: 86_400_000,
  argumentMaxLength: 131_072,
  argumentsMaxCount: 1024,
  environmentMaxCount: 256,
  commandInputMaxLength: 16_777_216,
  /** stdout and stderr kept of one command, each; what exceeds it is counted, not kept. */
  commandOutputMaxBytes: 4_194_304,
  /** Streams of events, terminals and connections to ports that one tenant has open at once. */
  connectionsMaxCount: 2000,
  /** Ports of one session that are reachable. */
  portsMaxCount: 32,
  /** Connections to the servers in one session; the rest of the channel's streams are for turns, commands and transfers. */
  portConnectionsMaxCount: 32,
  /** One message of a terminal's client: what is typed or pasted at once. */
  terminalMessageMaxBytes: 1_048_576,
  /** A terminal's client that has said nothing for so long, though it is asked, has gone. */
  terminalSilenceMs: 60_000,
  terminalTokenMs: 60_000,
  /** Without a byte either way on a connection to a port; then it is closed. */
  portIdleMs: 600_000,
  /** Headers that a server in a session answers with. */
  portHeaderMaxBytes: 32_768,
  portTokenDefaultSeconds: 3600,
  portTokenMaxSeconds: 86_400,
  keyGraceMaxSeconds: 604_800,
  /** A quota that is no bound. */
  quotaMaximum: 1_000_000_000,
} as const;

/** How long a session may do nothing, sleep, and live. */
export interface TimeLimits {
  /** Without a turn, a command or a transfer; then it is suspended, or terminated where there is nothing to suspend it to. */
  readonly idleMs: number;
  /** Asleep; then it is terminated. */
  readonly sleepMs: number;
  /** From its creation, awake or asleep; then it is terminated, when the turn that runs has ended. */
  readonly lifetimeMs: number;
}

export const defaultTimeLimits: TimeLimits = { idleMs: 1_800_000, sleepMs: 28_800_000, lifetimeMs: 28_800_000 };
/** What may be asked for. */
export const timeLimitsMinimum: TimeLimits = { idleMs: 1_000, sleepMs: 1_000, lifetimeMs: 1_000 };
export const timeLimitsMaximum: TimeLimits = { idleMs: 86_400_000, sleepMs: 2_592_000_000, lifetimeMs: 2_592_000_000 };
