// What two people type at once, from a recording: both begin with the same text, one goes on as it
// was recorded, the other as it was recorded behind that.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

/** Recordings, and how many of their operations make the text that both begin with. */
const RECORDINGS = [
  ["automerge-paper", 100_000],
  ["rustcode", 20_000],
];
const EACH = 10_000;

/**
 * Of each recording that is in the folder CODRAFT_TRACES, and made up: operations as
 * `[at, deleted, text]`, in UTF-16 units (the recordings are ASCII).
 */
export async function* typing() {
  for (const [name, before] of RECORDINGS) {
    const path = join(process.env.CODRAFT_TRACES ?? "", `${name}.json.gz`);
    if (!process.env.CODRAFT_TRACES || !existsSync(path)) continue;
    const { txns } = JSON.parse(gunzipSync(await readFile(path)));
    yield atOnce(name, txns.flatMap(({ patches }) => patches), before);
  }
  yield atOnce("generated", [...generated(20_000 + 2 * EACH)], 20_000);
}

function atOnce(name, patches, before) {
  const { text: start } = fitted("", patches.slice(0, before));
  const [own, others] = [before, before + EACH].map((from) => {
    return fitted(start, patches.slice(from, from + EACH)).operations;
  });
  return { name, start, own, others };
}

/** Letters, each at another place than the one before, and every fifth one taken away. */
function* generated(count) {
  let state = 1;
  for (let number = 0; number < count; number += 1) {
    state = (state * 48_271) % 2_147_483_647;
    yield number % 5 === 4 ? [state % number, 1, ""] : [state % (number + 1), 0, "x"];
  }
}

/** What was typed behind another text ends with this one. */
function fitted(start, patches) {
  let text = start;
  const operations = patches.map(([place, some, inserted]) => {
    const at = Math.min(place, text.length);
    const deleted = Math.min(some, text.length - at);
    text = text.slice(0, at) + inserted + text.slice(at + deleted);
    return [at, deleted, inserted];
  });
  return { text, operations };
}
