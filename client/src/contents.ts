// Two contents of a document that stand unit beside unit, and what makes the one the other.

import Delta, { AttributeMap, type Op, OpIterator } from "quill-delta";

import { replacement } from "./document.js";

const NONE: AttributeMap = {};

/** Pieces of contents of one length, side by side, cut wherever any of them is. */
export function* beside(...contents: Op[][]): Generator<{ units: number; ops: Op[] }> {
  const walks = contents.map((ops) => new OpIterator(ops));
  while (walks.every((walk) => walk.hasNext())) {
    const units = Math.min(...walks.map((walk) => walk.peekLength()));
    yield { units, ops: walks.map((walk) => walk.next(units)) };
  }
}

/** From one content to another of the same length, changing the units alone that differ. */
export function aligned(before: Delta, after: Delta): Delta {
  const change = new Delta();
  for (const { units, ops } of beside(before.ops, after.ops)) {
    const [was, is] = ops as [Op, Op];
    if (isSame(was.insert, is.insert)) {
      change.retain(units, formats(was.attributes, is.attributes));
    } else {
      change.insert(is.insert as NonNullable<Op["insert"]>, is.attributes).delete(units);
    }
  }
  return change.chop();
}

export function isEqual(a: Delta, b: Delta): boolean {
  return a.length() === b.length() && aligned(a, b).ops.length === 0;
}

/** From one content to another, with all formats and objects, keeping text that both begin and end with. */
export function difference(before: Delta, after: Delta): Delta {
  const text = replacement(before, after);
  return text.compose(aligned(before.compose(text), after));
}

/** What `AttributeMap.diff` says, without going into what is plainly the same. */
function formats(was: AttributeMap = NONE, is: AttributeMap = NONE): AttributeMap | undefined {
  const [before, after] = [Object.keys(was), Object.keys(is)];
  const isSame = before.length === after.length && before.every((name) => was[name] === is[name]);
  return isSame ? undefined : AttributeMap.diff(was, is);
}

function isSame(a: Op["insert"], b: Op["insert"]): boolean {
  if (typeof a !== "object" || typeof b !== "object") return a === b;
  return AttributeMap.diff(a, b) === undefined;
}
