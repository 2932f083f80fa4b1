import Delta from "quill-delta";

/** The same numbers for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const PIECES = ["a", "b", "xyz", "\n", "é", "😀", "한", "word "];

/** An edit of a text as a person makes one; never splits a surrogate pair. */
export function randomEdit(text: string, random: () => number): Delta {
  const points = boundaries(text);
  const at = points[Math.floor(random() * points.length)] ?? 0;
  const delta = new Delta().retain(at);
  if (random() < 0.7 || text.length === 0) {
    delta.insert(PIECES[Math.floor(random() * PIECES.length)] ?? "a");
  }
  if (random() < 0.35) {
    const ends = points.filter((point) => point > at).slice(0, 4);
    const end = ends[Math.floor(random() * ends.length)];
    if (end !== undefined) delta.delete(end - at);
  }
  return delta.chop();
}

function boundaries(text: string): number[] {
  const points = [0];
  for (const character of text) points.push((points.at(-1) ?? 0) + character.length);
  return points;
}
