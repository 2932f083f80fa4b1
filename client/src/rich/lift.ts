// What a user did to what is shown, as it is to the document: the other way through the
// projection. What was not shown stays as it is, unless it is deleted with its text.

import Delta, { AttributeMap, Op, OpIterator } from "quill-delta";

import { beside } from "../contents.js";
import { replacement, textOf } from "../document.js";
import { isWithinPair, wellFormed } from "../pairs.js";
import { isExclusive, OBJECT, ofLine, project, stoodFor } from "./projection.js";

/** What the server takes (`ot/src/limits.rs`), less what encoding adds. */
const ATTRIBUTE_BYTES = 240;
const EMBED_BYTES = 32_000;

const utf8 = new TextEncoder();

/**
 * The change of `content` that the user made of what was shown of it; `shown` is what is shown now.
 * As long as that, whatever of it cannot be in a document. The last line break stays, and nothing
 * comes behind it.
 */
export function lift(made: Delta, content: Delta, shown: Delta): Delta {
  let change = new Delta();
  for (const op of made.ops) {
    if (op.insert !== undefined) insert(change, op);
    else if (op.delete !== undefined) change.delete(op.delete);
    else change.retain(Op.length(op));
  }
  if (made.ops.some((op) => op.insert === undefined && op.attributes)) {
    const formats = made.ops.filter((op) => op.delete === undefined);
    change = change.compose(formatted(content.compose(change), shown, formats));
  }
  change = endKept(change.chop(), content);
  return hasHalves(change, content) ? whole(change, content) : change;
}

function insert(change: Delta, { insert, attributes }: Op): void {
  const formats = fitting(attributes);
  if (typeof insert === "string") return void change.insert(insert, formats);
  const embed = insert && OBJECT in insert ? stoodFor(insert[OBJECT]) : (insert ?? null);
  const fits = embed !== null && utf8.encode(JSON.stringify(embed)).length <= EMBED_BYTES;
  change.insert(fits ? embed : "\uFFFD", formats);
}

/** The formats in which what is shown differs from what it is to show, where the user changed any. */
function formatted(content: Delta, shown: Delta, made: Op[]): Delta {
  const change = new Delta();
  for (const { units, ops } of beside(content.ops, project(content).ops, shown.ops, made)) {
    const [exact, was, is, user] = ops as [Op, Op, Op, Op];
    const isTouched = user.insert === undefined && user.attributes !== undefined;
    const set = isTouched ? AttributeMap.diff(was.attributes, is.attributes) : undefined;
    change.retain(units, set && fitting(withoutRivals(set, exact.attributes), true));
  }
  return change.chop();
}

/** Whoever sets what kind of line it is settles that: what was not shown of it goes. */
function withoutRivals(set: AttributeMap, exact: AttributeMap = {}): AttributeMap {
  if (!Object.keys(set).some(isExclusive)) return set;
  const rivals = Object.keys(exact).filter((name) => isExclusive(name) && !(name in set));
  return { ...set, ...Object.fromEntries(rivals.map((name) => [name, null])) };
}

function fitting(attributes: AttributeMap = {}, withNull = false): AttributeMap {
  const fits = ([name, value]: [string, unknown]): boolean => {
    if (value == null) return withNull;
    return utf8.encode(name + JSON.stringify(value)).length <= ATTRIBUTE_BYTES;
  };
  return Object.fromEntries(Object.entries(attributes).filter(fits));
}

/**
 * The same change, with the document's last line break kept where it is. An editor that compares
 * what is there before and after may as well say that it went and the one before is the last, or
 * that something came behind it.
 */
function endKept(change: Delta, content: Delta): Delta {
  const end = content.length() - 1;
  const walk = new OpIterator(change.ops);
  const kept = new Delta();
  for (let at = 0; walk.hasNext() && (at < end || walk.peekType() === "insert"); ) {
    const isInsert = walk.peekType() === "insert";
    const op = isInsert ? walk.next() : walk.next(Math.min(walk.peekLength(), end - at));
    kept.push(op);
    if (!isInsert) at += Op.length(op);
  }
  const last = walk.next();
  if (last.delete === undefined && !walk.hasNext()) return change;
  const before = content.slice(end).ops[0]?.attributes;
  // As far as what is shown goes, the one that is kept is as good as the one that took its place.
  if (last.delete === undefined) kept.insert("\n", ofLine(AttributeMap.compose(before, last.attributes, false)));
  while (walk.hasNext()) kept.push(walk.next());
  const text = Math.max(0, content.compose(change).length() - 1);
  const after = content.compose(change).slice(text).ops[0];
  // A browser may leave nothing at all.
  if (after?.insert !== "\n") return kept.chop();
  const formats = withoutRivals(AttributeMap.diff(ofLine(before), ofLine(after.attributes)) ?? {}, before);
  return kept.compose(new Delta().retain(text).delete(1).retain(1, formats)).chop();
}

/** Whether a change would cut a character in two, or insert half of one. */
function hasHalves(change: Delta, content: Delta): boolean {
  const text = textOf(content);
  let at = 0;
  for (const op of change.ops) {
    if (op.insert === undefined) at += Op.length(op);
    else if (typeof op.insert === "string" && op.insert !== wellFormed(op.insert)) return true;
    if (isWithinPair(text, at)) return true;
  }
  return false;
}

/** The same text of it, in whole characters; formats elsewhere are left as they were. */
function whole(change: Delta, content: Delta): Delta {
  const after = new Delta();
  for (const op of content.compose(change).ops) {
    after.push(typeof op.insert === "string" ? { ...op, insert: wellFormed(op.insert) } : op);
  }
  return replacement(content, after);
}
