/** The bounds of this dialect, beside those of the wire contract. An answer is read by a model: what is long is told, not sent. */
export const mcpLimits = {
  /** One message of a client. */
  messageMaxBytes: 8_388_608,
  /** Messages that a client may send as one. */
  batchMaxCount: 100,
  connectionsPerCallerMaxCount: 32,
  connectionsMaxCount: 1024,
  /** Without a call, a request or an open stream; then a connection is closed. */
  connectionIdleMs: 1_800_000,
  /** A connection that has been idle for so long makes room for a new one of the same caller. */
  connectionYieldMs: 60_000,
  /** Calls of one connection at once, and HTTP requests that are being answered. */
  callsMaxCount: 32,
  responsesMaxCount: 64,
  /** What a connection keeps for a client that reconnects, and all of them together. */
  eventsMaxCount: 1024,
  eventsMaxBytes: 16_777_216,
  allEventsMaxBytes: 268_435_456,
  eventsKeptMs: 120_000,
  stdoutMaxLength: 24_000,
  stderrMaxLength: 8_000,
  tracebackMaxLength: 8_000,
  /** One result of a turn as text, and all of one turn. */
  resultMaxLength: 8_000,
  resultsMaxLength: 24_000,
  resultsMaxCount: 32,
  tableRowsMaxCount: 50,
  tableColumnsMaxCount: 20,
  cellMaxLength: 200,
  /** Images of one answer, together, as base64. Clients take answers of a mebibyte; what is said twice and text have to fit beside them. */
  imagesMaxCount: 8,
  imagesMaxLength: 500_000,
  /** Models refuse what is larger, and the whole conversation with it. */
  imageEdgeMaxPixels: 8_000,
  /** Of a file that is read: unless said, at most. */
  readDefaultBytes: 32_768,
  readMaxBytes: 262_144,
  resourceMaxBytes: 524_288,
  entriesMaxCount: 500,
  /** Of the tools that a session was granted: how many are listed, and the JSON of a value that is told; what is larger is put into the session. */
  grantedToolsMaxCount: 500,
  valueMaxBytes: 200_000,
  pageMaxCount: 50,
  forksMaxCount: 16,
  /** Of `resources/list`: sessions that are looked into, and files in all. */
  resourceSessionsMaxCount: 8,
  resourcesMaxCount: 200,
  resourcesTimeoutMs: 5_000,
  messageMaxLength: 1_000,
  progressMinIntervalMs: 250,
  /** The interval grows by this with every message, up to the longest: a turn that runs all day sends some thousands. */
  progressGrowthMs: 10,
  progressMaxIntervalMs: 5_000,
} as const;
