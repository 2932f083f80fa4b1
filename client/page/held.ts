// What others did that the screen does not show yet. While an input method composes, the browser
// owns the line that it composes in: a change there makes it start again behind what it had
// written. So the document goes on, and the screen follows when the composition is over.

import Delta, { Op } from "quill-delta";

/** Units of the text on the screen. */
export interface Range {
  from: number;
  to: number;
}

export class Held {
  /** Composed after the text on the screen it makes the document's. */
  private delta = new Delta();

  get isEmpty(): boolean {
    return this.delta.ops.length === 0;
  }

  /** Something that another did to the document. */
  add(delta: Delta): void {
    this.delta = this.delta.compose(delta);
  }

  /** What the user did to the text on the screen; returns what that is to the document. */
  typed(local: Delta): Delta {
    // Where both insert, what is held goes first: it came first in the document's order.
    const moved = this.delta.transform(local, true);
    this.delta = local.transform(this.delta, false).chop();
    return moved;
  }

  /** All that does not touch these lines: now it is on the screen. */
  release(kept: Range | null): Delta {
    const now = new Delta();
    const later = new Delta();
    let at = 0;
    for (const op of this.delta.ops) {
      const units = op.insert === undefined ? Op.length(op) : 0;
      const isKept = kept !== null && at <= kept.to && at + units >= kept.from;
      const [here, other] = isKept ? [later, now] : [now, later];
      if (op.insert !== undefined) here.push(op);
      else if (op.delete !== undefined) {
        here.delete(units);
        other.retain(units);
      } else {
        now.push(op);
        later.retain(units);
      }
      at += units;
    }
    this.delta = now.transform(later.chop(), true);
    return now.chop();
  }
}
