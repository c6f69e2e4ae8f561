// Every bound of one channel that is not in the `limits` of the protocol. What the wire contract says of them is in docs/channel.md.

export const channelLimits = {
  protocolVersion: 1,
  headerBytes: 12,
  frameMaxBytes: 65_536,
  /** What the other side may send on a stream before it is given more. */
  windowBytes: 262_144,
  /** Credit goes back in pieces of at least this size. */
  creditStepBytes: 65_536,
  creditMaxBytes: 16_777_216,
  /** CREDIT frames that a guest may send on a stream: these, and one for each so many bytes and each DATA frame it was sent. */
  creditFramesMaxCount: 256,
  creditFrameMinBytes: 512,
  creditFramesPerDataFrame: 4,
  streamMaxId: 0xffff_ffff,
  epochMax: 0xffff,
  pingsMaxCount: 64,
  pingBytes: 8,
  jsonMaxDepth: 16,
  /** Values of one JSON text. Small values cost far more memory than bytes: without this, 8 MiB of `[],` would be 200 MiB. */
  jsonMaxValues: 262_144,
  /** A partial message longer than this needs one of the channel's assembly slots to go on. */
  messageWithoutSlotMaxBytes: 131_072,
  assemblySlots: 1,
  /** What a turn's lanes may carry beyond twice the limits that the guest was given, before it counts as an attack. */
  laneSlackBytes: 1_048_576,
  /** What one channel may take of the event loop before the others have their turn: payload bytes, and a price for each frame. */
  tickBudgetBytes: 524_288,
  frameCostBytes: 256,
  /** Senders of DATA wait while this much is not yet with the kernel. */
  outgoingSoftMaxBytes: 262_144,
  /** With this much unsent, the guest is not reading. */
  outgoingMaxBytes: 8_388_608,
  mimeTypesMaxCount: 32,
  mimeTypeMaxLength: 127,
  exceptionNameMaxLength: 1024,
  exceptionValueMaxLength: 65_536,
  tracebackMaxLength: 262_144,
  sourceMaxLength: 4096,
  errorMessageMaxLength: 300,
  /** Calls of tools that a guest has under way at once; more are a violation. */
  callsMaxCount: 16,
  toolNameMaxLength: 256,
  callArgumentsMaxLength: 1_048_576,
  /** A line of the host on `calls`: an answer, or what tools there are. */
  callAnswerMaxBytes: 8_388_608,
  closeMs: 1000,
} as const;

/** Deadlines of one channel. Each that passes ends the channel as `unresponsive`. */
export interface ChannelTimeouts {
  /** An answer to a call that only asks or changes something small. */
  readonly controlTimeoutMs: number;
  /** An answer to a call whose work has no bound: removing a tree, settling, moving. */
  readonly slowTimeoutMs: number;
  readonly identifyTimeoutMs: number;
  readonly pingTimeoutMs: number;
  /** A transfer in which the host waits for the guest and nothing moves. */
  readonly stallTimeoutMs: number;
  /** From a cancellation to the end of its stream. */
  readonly cancelTimeoutMs: number;
}

export const defaultTimeouts: ChannelTimeouts = {
  controlTimeoutMs: 30_000,
  slowTimeoutMs: 300_000,
  identifyTimeoutMs: 5000,
  pingTimeoutMs: 10_000,
  stallTimeoutMs: 60_000,
  cancelTimeoutMs: 10_000,
};
