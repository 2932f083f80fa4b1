// What a user did and what is not saved, as one operation that may be long: an hour's writing on
// a train. For each operation of another's, and for each keystroke, `quill-delta` goes through
// all of it. Here it lies in a balanced tree that knows the lengths before and after it: what is
// touched is gone through, and the rest is stepped over in logarithmic time. The results are
// those of `quill-delta`, one by one.
// The reference is `ot/src/branch.rs`.

import Delta, { AttributeMap, Op } from "quill-delta";

/**
 * What is inserted at one place, then what is deleted there; then what is retained up to the next
 * place. So the order is the canonical one, wherever deletions make two places one.
 */
interface Segment {
  inserts: Op[];
  /** Units of `inserts`. */
  inserted: number;
  deleted: number;
  retained: number;
  /** Of what is retained. */
  attributes: AttributeMap | undefined;
}

/** Segments in order, and none above one of a higher priority (a treap). */
interface Node extends Segment {
  left: Tree;
  right: Tree;
  priority: number;
  /** Units of the document that this and all below walk over. */
  before: number;
  /** And units of the document that they make of it. */
  after: number;
}

type Tree = Node | null;

export class Branch {
  private root: Tree = null;

  constructor(delta: Delta = new Delta()) {
    for (const { insert, delete: units, retain, attributes } of delta.ops) {
      if (insert !== undefined) this.put(inserting([attributes ? { insert, attributes } : { insert }]));
      else if (units !== undefined) this.put(deleting(units));
      else this.put(retaining(retain as number, attributes));
    }
    this.root = chopped(this.root);
  }

  /** Whether it does nothing. */
  get isEmpty(): boolean {
    return this.root === null;
  }

  /** As one operation, in canonical form. */
  toDelta(): Delta {
    const delta = new Delta();
    for (const segment of segments(this.root)) {
      for (const insert of segment.inserts) delta.push(insert);
      delta.delete(segment.deleted).retain(segment.retained, segment.attributes);
    }
    return delta.chop();
  }

  /**
   * Moves it past `earlier`, made against the same document: what `earlier.transform(this, true)`
   * gives. Returns what `earlier` is to the document with this in it: what
   * `this.transform(earlier, false)` gives.
   */
  pass(earlier: Delta): Delta {
    const moved = new Delta();
    let rest = this.restart();
    for (const op of earlier.ops) {
      const units = Op.length(op);
      if (op.insert !== undefined) {
        // Theirs came first in the order, so it goes first at one place.
        moved.push(op);
        this.put(retaining(units));
        continue;
      }
      let part: Tree;
      [part, rest] = splitBefore(rest, units);
      const beyond = units - before(part);
      if (op.delete !== undefined) this.put(deletedBy(part, moved));
      else if (op.attributes) this.formattedBy(part, op.attributes, moved);
      else {
        moved.retain(after(part));
        this.put(part);
      }
      if (op.delete !== undefined) moved.delete(beyond);
      else {
        moved.retain(beyond, op.attributes);
        this.put(retaining(beyond));
      }
    }
    this.put(rest);
    this.root = chopped(this.root);
    return moved.chop();
  }

  /** Adds what was done after it: what `this.compose(next)` gives. */
  compose(next: Delta): void {
    let rest = this.restart();
    for (const op of next.ops) {
      const units = Op.length(op);
      if (op.insert !== undefined) {
        this.put(inserting([op]));
        continue;
      }
      let part: Tree;
      [part, rest] = splitAfter(rest, units);
      const beyond = units - after(part);
      if (op.delete !== undefined) {
        // What was inserted here and is deleted was never there.
        this.put(deleting(before(part) + beyond));
        continue;
      }
      if (op.attributes) for (const one of segments(part)) this.put(formatted(one, op.attributes));
      else this.put(part);
      this.put(retaining(beyond, op.attributes));
    }
    this.put(rest);
    this.root = chopped(this.root);
  }

  /** All of it, to be put together anew. */
  private restart(): Tree {
    const all = this.root;
    this.root = null;
    return all;
  }

  private put(tree: Tree): void {
    this.root = join(this.root, tree);
  }

  private formattedBy(part: Tree, attributes: AttributeMap, moved: Delta): void {
    for (const one of segments(part)) {
      moved.retain(one.inserted).retain(one.retained, attributes);
      const kept = AttributeMap.transform(attributes, one.attributes, true);
      this.put(node({ ...one, attributes: kept }));
    }
  }
}

/** What of a part is left when another has deleted what it is about. */
function deletedBy(part: Tree, moved: Delta): Tree {
  const inserts: Op[] = [];
  for (const one of segments(part)) {
    moved.retain(one.inserted).delete(one.retained);
    inserts.push(...one.inserts);
  }
  return inserting(inserts);
}

/** A part of an operation after which this is formatted. */
function formatted(one: Segment, attributes: AttributeMap): Tree {
  const inserts = one.inserts.map(({ insert, attributes: had }) => {
    const has = AttributeMap.compose(had, attributes, false);
    return has ? { insert, attributes: has } : { insert };
  }) as Op[];
  return node({ ...one, inserts, attributes: AttributeMap.compose(one.attributes, attributes, true) });
}

// ---- Segments ------------------------------------------------------------------------------

function inserting(inserts: Op[]): Tree {
  const inserted = inserts.reduce((sum, op) => sum + Op.length(op), 0);
  return node({ inserts, inserted, deleted: 0, retained: 0, attributes: undefined });
}

function deleting(deleted: number): Tree {
  return node({ inserts: [], inserted: 0, deleted, retained: 0, attributes: undefined });
}

function retaining(retained: number, attributes?: AttributeMap): Tree {
  return node({ inserts: [], inserted: 0, deleted: 0, retained, attributes });
}

/** Adds inserts to others; those that can be said as one are. */
function extend(inserts: Op[], more: Op[]): void {
  for (const op of more) {
    const last = inserts.at(-1);
    const isText = typeof last?.insert === "string" && typeof op.insert === "string";
    if (last && isText && same(last, op)) {
      inserts[inserts.length - 1] = { ...last, insert: `${last.insert as string}${op.insert as string}` };
    } else inserts.push(op);
  }
}

/** Inserts up to so many units, and from there on. */
function cut(inserts: Op[], units: number): [Op[], Op[]] {
  let left = units;
  let i = 0;
  for (; left > 0; i += 1) {
    const op = inserts[i] as Op;
    if (Op.length(op) > left) {
      // An embed is one unit long, so this is text.
      const text = op.insert as string;
      const [first, second] = [text.slice(0, left), text.slice(left)];
      return [
        [...inserts.slice(0, i), { ...op, insert: first }],
        [{ ...op, insert: second }, ...inserts.slice(i + 1)],
      ];
    }
    left -= Op.length(op);
  }
  return [inserts.slice(0, i), inserts.slice(i)];
}

function same(a: { attributes?: AttributeMap | undefined }, b: { attributes?: AttributeMap | undefined }): boolean {
  return a.attributes === b.attributes || AttributeMap.diff(a.attributes, b.attributes) === undefined;
}

// ---- The tree ------------------------------------------------------------------------------

let drawn = 1;

/** The tree's shape is nothing that anybody sees, so the same numbers do each time (xorshift). */
function priority(): number {
  drawn ^= drawn << 13;
  drawn ^= drawn >>> 17;
  drawn ^= drawn << 5;
  return drawn;
}

/** A tree of this alone; none, if it is nothing. */
function node(segment: Segment): Tree {
  const { inserts, inserted, deleted, retained, attributes } = segment;
  const isNothing = inserted + deleted + retained === 0;
  if (isNothing) return null;
  return measured({
    inserts, inserted, deleted, retained, attributes,
    left: null, right: null, priority: priority(), before: 0, after: 0,
  });
}

function before(tree: Tree): number {
  return tree ? tree.before : 0;
}

function after(tree: Tree): number {
  return tree ? tree.after : 0;
}

function measured(tree: Node): Node {
  tree.before = before(tree.left) + tree.deleted + tree.retained + before(tree.right);
  tree.after = after(tree.left) + tree.inserted + tree.retained + after(tree.right);
  return tree;
}

function* segments(tree: Tree): Generator<Segment> {
  const above: Node[] = [];
  for (let at = tree; at || above.length > 0; ) {
    for (; at; at = at.left) above.push(at);
    const next = above.pop() as Node;
    yield next;
    at = next.right;
  }
}

function merge(a: Tree, b: Tree): Tree {
  if (!a || !b) return a ?? b;
  if (a.priority >= b.priority) {
    a.right = merge(a.right, b);
    return measured(a);
  }
  b.left = merge(a, b.left);
  return measured(b);
}

/** One behind the other; what meets there is said in one way. */
function join(a: Tree, b: Tree): Tree {
  let rest = b;
  while (a && rest) {
    const last = lastOf(a);
    const first = firstOf(rest);
    const isOneRetain = first.inserted + first.deleted === 0 && same(last, first);
    if (last.retained > 0 && !isOneRetain) break;
    rest = withoutFirst(rest);
    append(a, first);
  }
  return merge(a, rest);
}

function firstOf(tree: Node): Node {
  let first = tree;
  while (first.left) first = first.left;
  return first;
}

function lastOf(tree: Node): Node {
  let last = tree;
  while (last.right) last = last.right;
  return last;
}

function withoutFirst(tree: Node): Tree {
  if (!tree.left) return tree.right;
  tree.left = withoutFirst(tree.left);
  return measured(tree);
}

/** Makes what follows a part of the last segment. */
function append(tree: Node, next: Segment): void {
  if (tree.right) append(tree.right, next);
  else {
    extend(tree.inserts, next.inserts);
    tree.inserted += next.inserted;
    tree.deleted += next.deleted;
    tree.retained += next.retained;
    tree.attributes = next.attributes;
  }
  measured(tree);
}

/** Without a plain retain at the end, which means nothing there. */
function chopped(tree: Tree): Tree {
  if (!tree) return null;
  if (tree.right) tree.right = chopped(tree.right);
  else if (!tree.attributes) {
    tree.retained = 0;
    if (tree.inserted + tree.deleted === 0) return tree.left;
  }
  return measured(tree);
}

/** So many units of the document before, and the rest; inserts where it is cut are of the rest. */
function splitBefore(tree: Tree, units: number): [Tree, Tree] {
  if (!tree) return [null, null];
  const left = units - before(tree.left);
  if (left <= 0) {
    const [first, second] = splitBefore(tree.left, units);
    tree.left = second;
    return [first, measured(tree)];
  }
  const own = tree.deleted + tree.retained;
  if (left >= own) return splitRight(tree, splitBefore(tree.right, left - own));
  const deleted = Math.min(left, tree.deleted);
  const retained = left - deleted;
  return splitOwn(tree, { deleted, retained }, {
    inserts: [],
    inserted: 0,
    deleted: tree.deleted - deleted,
    retained: tree.retained - retained,
    attributes: tree.attributes,
  });
}

/** So many units of the document after, and the rest. */
function splitAfter(tree: Tree, units: number): [Tree, Tree] {
  if (!tree) return [null, null];
  const left = units - after(tree.left);
  if (left <= 0) {
    const [first, second] = splitAfter(tree.left, units);
    tree.left = second;
    return [first, measured(tree)];
  }
  const { inserted, deleted, retained } = tree;
  if (left >= inserted + retained) {
    return splitRight(tree, splitAfter(tree.right, left - inserted - retained));
  }
  if (left <= inserted) {
    const [inserts, others] = cut(tree.inserts, left);
    const { attributes } = tree;
    const second = { inserts: others, inserted: inserted - left, deleted, retained, attributes };
    const nothing = { deleted: 0, retained: 0, attributes: undefined };
    return splitOwn(tree, { inserts, inserted: left, ...nothing }, second);
  }
  const kept = left - inserted;
  return splitOwn(tree, { retained: kept }, {
    inserts: [],
    inserted: 0,
    deleted: 0,
    retained: retained - kept,
    attributes: tree.attributes,
  });
}

function splitRight(tree: Node, [first, second]: [Tree, Tree]): [Tree, Tree] {
  tree.right = first;
  return [measured(tree), second];
}

/** Cuts a tree behind what is left of its own segment; `second` was that segment's too. */
function splitOwn(tree: Node, first: Partial<Segment>, second: Segment): [Tree, Tree] {
  const { right } = tree;
  Object.assign(tree, first);
  tree.right = null;
  return [measured(tree), merge(node(second), right)];
}
