// How long to wait before the next attempt.

const FIRST_MS = 250;
const MOST_MS = 15_000;

/**
 * Exponential with full jitter: anywhere between nothing and the limit, so that many clients
 * that lost the same server do not come back at the same moment.
 */
export class Backoff {
  private attempts = 0;

  constructor(private readonly random: () => number = Math.random) {}

  /** Milliseconds; at least `atLeast` where the server named a time. */
  next(atLeast = 0): number {
    const limit = Math.min(MOST_MS, FIRST_MS * 2 ** this.attempts);
    this.attempts = Math.min(this.attempts + 1, 16);
    return atLeast + this.random() * limit;
  }

  reset(): void {
    this.attempts = 0;
  }
}
