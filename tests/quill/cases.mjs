// Random documents and operations. Cuts fall between characters only: JavaScript would cut a
// surrogate pair in two, which the server refuses.

/** Numbers from a seed (mulberry32), the same ones every time. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** A whole number of at least 0, below `below`. */
  below(below) {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  }

  one(list) {
    return list[this.below(list.length)];
  }

  chance(percent) {
    return this.below(100) < percent;
  }
}

const PIECES = ["a", "b", "ab", "xyz", "\n", " ", "é", "漢字", "🦀", "𝒳y", "👩‍👧", "\u{fffc}", "e\u0301"];
const NAMES = ["bold", "color", "link", "ключ", "🦀", "list"];
const VALUES = [
  true, false, "", "red", "🦀", 0, 1, -1, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308,
  9007199254740993, 0.30000000000000004, [], [1, null, "x"], {}, { indent: 1, kind: "x" },
  { kind: "x", indent: 1 }, { deep: { er: [{ a: null }] } },
];
const EMBEDS = [
  { image: "a.png" }, { image: "b.png" }, { mention: { id: 1, name: "🦀" } },
  { mention: { name: "🦀", id: 1 } }, { formula: [0.1, null, { x: false }] }, {},
];

function text(random) {
  let out = "";
  for (let i = 1 + random.below(3); i > 0; i--) out += random.one(PIECES);
  return out;
}

/** `nulls`: a removal may be among them, in percent. */
function attributes(random, nulls) {
  if (random.chance(45)) return undefined;
  const set = {};
  for (let i = 1 + random.below(3); i > 0; i--) {
    const value = random.chance(50) ? random.one(VALUES.slice(0, 4)) : random.one(VALUES);
    set[random.one(NAMES)] = random.chance(nulls) ? null : value;
  }
  return set;
}

function component(main, set) {
  return set ? { ...main, attributes: set } : main;
}

function insert(random, rich, nulls) {
  const main = rich && random.chance(20) ? random.one(EMBEDS) : text(random);
  return component({ insert: main }, rich ? attributes(random, nulls) : undefined);
}

/** Components of a document; a rich one ends with a line break. */
export function document(random, rich) {
  const ops = [];
  for (let i = random.below(7); i > 0; i--) ops.push(insert(random, rich, 0));
  if (rich) ops.push(component({ insert: "\n" }, attributes(random, 0)));
  return ops;
}

/** Lengths of the characters and embeds of a document. */
export function characters(ops) {
  return ops.flatMap(({ insert }) =>
    typeof insert === "string" ? [...insert].map((c) => c.length) : [1],
  );
}

/**
 * Components of an operation on a document: not canonical, neighbours may be of one sort and
 * deletes stand before inserts. `nulls`: how often an insert removes an attribute, in percent.
 */
export function operation(random, rich, lengths, nulls) {
  const ops = [];
  // The last line break of a rich document stays where it is.
  const end = rich ? lengths.length - 1 : lengths.length;
  let at = 0;
  const take = (most) => {
    const to = Math.min(at + 1 + random.below(4), most);
    let units = 0;
    for (; at < to; at++) units += lengths[at];
    return units;
  };
  while (at < end || random.chance(20)) {
    const what = random.below(10);
    if (what < 3 || at >= end) {
      ops.push(insert(random, rich, nulls));
    } else if (what < 6) {
      ops.push({ delete: take(end) });
    } else {
      ops.push(component({ retain: take(end) }, rich ? attributes(random, 30) : undefined));
    }
    if (random.chance(8)) break;
  }
  // What is left may be formatted to the very end, or kept in so many words.
  if (at < lengths.length && random.chance(30)) {
    at = Math.max(at, 0);
    const units = lengths.slice(at).reduce((sum, n) => sum + n, 0);
    ops.push(component({ retain: units }, rich ? attributes(random, 30) : undefined));
  }
  return ops;
}
