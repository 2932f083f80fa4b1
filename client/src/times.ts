// How long keystrokes take: when each was made that waits, and each that is in flight.

/** Keystrokes whose times are kept until they are acknowledged. */
const TIMES_MAX = 1_000;

export class Times {
  private waiting: number[] = [];
  private flying: number[] = [];

  made(now: number): void {
    if (this.waiting.length < TIMES_MAX) this.waiting.push(now);
  }

  /** All that waited is in flight. */
  sent(): void {
    [this.flying, this.waiting] = [this.waiting, []];
  }

  /** Milliseconds that each took which was in flight. */
  saved(now: number): number[] {
    const took = this.flying.map((at) => now - at);
    this.flying = [];
    return took;
  }

  forget(): void {
    this.waiting = this.flying = [];
  }
}
