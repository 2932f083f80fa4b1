// What two people type at once, from a recording: both begin with the same text, one goes on as it
// was recorded, the other as it was recorded behind that.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const BEFORE = 100_000;
const EACH = 10_000;

/**
 * Operations as `[at, deleted, text]`, in UTF-16 units (the recording is ASCII). Of the folder in
 * CODRAFT_TRACES; without it, words here and there.
 */
export async function typing() {
  const path = join(process.env.CODRAFT_TRACES ?? "", "automerge-paper.json.gz");
  const isThere = Boolean(process.env.CODRAFT_TRACES) && existsSync(path);
  const patches = isThere ? recorded(JSON.parse(gunzipSync(await readFile(path)))) : generated();
  const { text: start } = fitted("", patches.slice(0, BEFORE));
  const [own, others] = [0, EACH].map((from) => {
    return fitted(start, patches.slice(BEFORE + from, BEFORE + from + EACH)).operations;
  });
  return { start, own, others, name: isThere ? "automerge-paper" : "generated" };
}

function recorded(trace) {
  return trace.txns.flatMap(({ patches }) => patches);
}

function* letters() {
  let [state, at] = [1, 0];
  for (let number = 0; number < BEFORE + 2 * EACH; number += 1) {
    state = (Math.imul(state, 48_271) >>> 0) % 2_147_483_647;
    if (number % 7 === 0) at = state % (number + 1);
    yield number % 5 === 4 ? [Math.max(at - 1, 0), 1, ""] : [at++, 0, "x"];
  }
}

function generated() {
  return [...letters()];
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
