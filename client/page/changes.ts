// CodeMirror's changes and Delta operations, each as the other.

import type { ChangeSet, Text } from "@codemirror/state";
import Delta, { Op } from "quill-delta";

/** These units of the text before it are replaced. */
export interface Replacement {
  from: number;
  to: number;
  insert: string;
}

/**
 * The same changes of the document `before`, none of which begins or ends within a surrogate
 * pair. An editor that compares the text before and after an input method went from 😀 to 😁
 * finds only the second half changed; halves cannot be sent.
 */
export function wholePairs(before: Text, changes: ChangeSet): Replacement[] {
  const replacements: Replacement[] = [];
  // Two of them cannot meet within one pair: changes that touch are told as one.
  changes.iterChanges((first, last, _fromAfter, _toAfter, inserted) => {
    const from = isWithinPair(before, first) ? first - 1 : first;
    const to = isWithinPair(before, last) ? last + 1 : last;
    const text = inserted.sliceString(0, undefined, "\n");
    const insert = before.sliceString(from, first) + text + before.sliceString(last, to);
    replacements.push({ from, to, insert });
  });
  return replacements;
}

function isWithinPair(text: Text, at: number): boolean {
  return /^[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.sliceString(Math.max(0, at - 1), at + 1));
}

export function deltaOf(replacements: readonly Replacement[]): Delta {
  const delta = new Delta();
  let at = 0;
  for (const { from, to, insert } of replacements) {
    delta.retain(from - at).insert(insert).delete(to - from);
    at = to;
  }
  return delta.chop();
}

/** What cannot be shown as text takes one unit, as in the document. */
export function replacementsOf(delta: Delta): Replacement[] {
  const replacements: Replacement[] = [];
  let at = 0;
  for (const op of delta.ops) {
    const end = op.insert === undefined ? at + Op.length(op) : at;
    if (op.retain === undefined) {
      const shown = typeof op.insert === "object" ? "\uFFFC" : (op.insert ?? "");
      replacements.push({ from: at, to: end, insert: shown });
    }
    at = end;
  }
  return replacements;
}
