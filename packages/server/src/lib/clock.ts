/** Time as the code below the edge sees it: injected, so that a test can step it. */
export interface Clock {
  /** Monotonic milliseconds from an origin of its own. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch, for records and people; never for measuring. */
  unixMs(): number;
  /** Calls back once, not before `delayMs`; the answer cancels it and may be called at any time. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  unixMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
