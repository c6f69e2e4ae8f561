/** The bounds of what an MCP server may do to the host, whatever it says. */
export const mcpBounds = {
  /** Tools of a server, in how many pages it likes up to so many. */
  listedMaxCount: 500,
  pagesMaxCount: 20,
  listMaxBytes: 4_194_304,
  /** A list that is older is asked for again before a call; a server need not tell that it has changed. */
  listMaxAgeMs: 30_000,
  /** Nesting of what it sends: schemas and results. */
  depthMaxCount: 100,
  /** Beside the bytes of a result, for what stands around it; base64 is a third more. */
  overheadBytes: 1_048_576,
  /** Of the stream that a server may tell things on without being asked. */
  notificationsMaxBytes: 1_048_576,
  notificationStreamsMaxCount: 8,
  /** HTTP requests of one connection: a server that asks us for things makes us send answers. */
  requestsMaxCount: 10_000,
  requestsAtOnceMaxCount: 48,
  /** One for each session of Bulkhead's that calls. */
  connectionsMaxCount: 64,
  connectionIdleMs: 300_000,
  goodbyeMs: 2000,
  errorMaxLength: 1000,
} as const;
