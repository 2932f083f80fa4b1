// What a user can undo: their own changes of the document, moved past what others did meanwhile.
// They are the document's own and not the screen's, so what comes back is what was there, with
// what the screen did not show of it.

import type Delta from "quill-delta";

/** What follows within this time is undone with what was before it. */
const TOGETHER_MS = 1_000;
const STEPS_MAX = 100;

export class History {
  private done: Delta[] = [];
  private undone: Delta[] = [];
  private recordedAt = Number.NEGATIVE_INFINITY;

  /** The user made this of `content`, at a time in milliseconds. */
  record(made: Delta, content: Delta, now: number): void {
    if (made.ops.length === 0) return;
    let back = made.invert(content);
    this.undone = [];
    const before = now - this.recordedAt < TOGETHER_MS ? this.done.pop() : undefined;
    if (before) back = back.compose(before);
    else this.recordedAt = now;
    if (back.ops.length > 0) this.done.push(back);
    if (this.done.length > STEPS_MAX) this.done.shift();
  }

  /** What is recorded next is a step of its own. */
  cutoff(): void {
    this.recordedAt = Number.NEGATIVE_INFINITY;
  }

  /** Another did this. */
  transform(theirs: Delta): void {
    this.done = moved(this.done, theirs);
    this.undone = moved(this.undone, theirs);
  }

  /** The change that takes the last step back; null where there is none. */
  undo(content: Delta): Delta | null {
    return this.step(this.done, this.undone, content);
  }

  redo(content: Delta): Delta | null {
    return this.step(this.undone, this.done, content);
  }

  private step(from: Delta[], to: Delta[], content: Delta): Delta | null {
    const change = from.pop();
    if (!change) return null;
    to.push(change.invert(content));
    this.cutoff();
    return change;
  }
}

/** Steps, the last one made against the document as it is, past what another did to that. */
function moved(steps: readonly Delta[], theirs: Delta): Delta[] {
  let past = theirs;
  const all: Delta[] = [];
  for (const step of [...steps].reverse()) {
    const here = past.transform(step, true);
    past = step.transform(past, false);
    if (here.ops.length > 0) all.push(here);
  }
  return all.reverse();
}
