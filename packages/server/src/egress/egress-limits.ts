/** The bounds of what a guest and the servers that it reaches may do to the host that is between them. */
export const egressLimits = {
  /** Request line and headers of a request, headers of a response. */
  headMaxBytes: 16_384,
  /** From the first byte of a connection, or the end of a response, to the whole head of the next request. */
  requestWaitMs: 60_000,
  /** What one session has decided, since each is on record: so many a second, after so many at once. Others wait; what is more than may wait is turned away unrecorded. */
  decisionsPerSecond: 50,
  decisionsAtOnceMaxCount: 200,
  decisionsWaitingMaxCount: 64,
  /** From the end of the last answer to the end of a connection that the client does not end. */
  lingerMs: 2000,
  helloMaxBytes: 16_384,
  /** TLS records that a ClientHello may be spread over. */
  helloRecordsMaxCount: 8,
  helloWaitMs: 10_000,
  lookupMs: 10_000,
  connectMs: 10_000,
  /** More answers than these are not looked at, and the name is refused: none of them may be passed over. */
  addressesMaxCount: 64,
  /** Of the answers, tried one after the other. */
  addressesTriedMaxCount: 4,
} as const;
