// The algebra beside npm's quill-delta 5.1: for each random case both must say the same, in
// canonical form, of transform (either side), compose, invert, apply, positions and push.
//
//   node differential.mjs [--cases 100000] [--seed 1] [--workers 2]

import { execFileSync, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

import Delta from "quill-delta";

import { Random, characters, document, operation } from "./cases.mjs";

const BATCH = 250;
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Built from single components, so that quill-delta brings them into its canonical form. */
function pushed(ops) {
  const delta = new Delta();
  for (const op of ops) delta.push(op);
  return delta;
}

function makeCase(random) {
  const rich = random.chance(75);
  const start = pushed(document(random, rich));
  const lengths = characters(start.ops);
  // quill-delta keeps the removal of an attribute in an inserted text, a document here does
  // not: one case in eight has them, and is not compared as a document.
  const nulls = random.chance(12) ? 30 : 0;
  const a = operation(random, rich, lengths, nulls);
  const b = operation(random, rich, lengths, nulls);
  const after = start.compose(pushed(a));
  const c = operation(random, rich, characters(after.ops), nulls);
  const position = random.below(start.length() + 2);
  return { rich, nulls, document: start.ops, a, b, c, position };
}

function expected(one) {
  const [start, a, b, c] = [one.document, one.a, one.b, one.c].map(pushed);
  return {
    pushed: a.ops,
    first: a.transform(b, true).ops,
    second: a.transform(b, false).ops,
    composed: a.compose(c).ops,
    inverted: a.invert(start).ops,
    applied: start.compose(a).compose(c).ops,
    stays: a.transformPosition(one.position, true),
    moves: a.transformPosition(one.position, false),
  };
}

/** JSON with names in order: equal for equal values. */
function canonical(value) {
  return JSON.stringify(value, (_, v) =>
    v !== null && typeof v === "object" && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([x], [y]) => (x < y ? -1 : 1)))
      : v,
  );
}

function difference(one, ours, theirs) {
  for (const name of Object.keys(theirs)) {
    if (name === "applied" && one.nulls) continue;
    if (canonical(ours[name]) !== canonical(theirs[name])) return name;
  }
  return undefined;
}

/** Runs its share of the cases; throws at the first difference. */
async function work({ cases, seed, binary }) {
  const random = new Random(seed);
  const rust = spawn(binary, { stdio: ["pipe", "pipe", "inherit"] });
  const failed = new Promise((_, reject) => {
    rust.on("error", reject);
    rust.stdin.on("error", reject);
    rust.on("exit", (code) => reject(new Error(`the Rust half ended with ${code}`)));
  });
  failed.catch(() => {});
  const answers = createInterface({ input: rust.stdout })[Symbol.asyncIterator]();
  const send = (count) => {
    const batch = Array.from({ length: count }, () => makeCase(random));
    rust.stdin.write(`${JSON.stringify(batch)}\n`);
    return batch;
  };
  let made = Math.min(BATCH, cases);
  let batch = send(made);
  while (batch.length > 0) {
    const count = Math.min(BATCH, cases - made);
    made += count;
    const next = count > 0 ? send(count) : [];
    const theirs = batch.map(expected);
    const { value } = await Promise.race([answers.next(), failed]);
    const ours = JSON.parse(value);
    batch.forEach((one, i) => {
      const name = ours[i].error ? "error" : difference(one, ours[i], theirs[i]);
      if (name === undefined) return;
      const shown = { case: one, ours: ours[i][name], quill: theirs[i][name] };
      throw new Error(`${name} differs:\n${JSON.stringify(shown, null, 1)}`);
    });
    batch = next;
  }
  rust.removeAllListeners("exit");
  rust.stdin.end();
}

function build() {
  const args = ["build", "--quiet", "--package", "codraft-ot", "--example", "differential"];
  const lines = execFileSync("cargo", [...args, "--message-format=json"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 64 << 20,
  });
  for (const line of lines.toString().split("\n")) {
    if (!line.startsWith("{")) continue;
    const message = JSON.parse(line);
    if (message.target?.name === "differential" && message.executable) return message.executable;
  }
  throw new Error("cargo built no example `differential`");
}

async function main() {
  const { values } = parseArgs({
    options: {
      cases: { type: "string", default: "100000" },
      seed: { type: "string", default: "1" },
      workers: { type: "string", default: "2" },
    },
  });
  const [cases, seed, workers] = [values.cases, values.seed, values.workers].map(Number);
  const positive = (n) => Number.isSafeInteger(n) && n > 0;
  if (!positive(cases) || !positive(workers) || !Number.isSafeInteger(seed)) {
    throw new Error("--cases and --workers count from 1, --seed is a whole number");
  }
  const binary = build();
  const started = performance.now();
  const share = Math.ceil(cases / workers);
  const runs = Array.from({ length: workers }, (_, i) => {
    const mine = Math.min(share, cases - i * share);
    if (mine <= 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const workerData = { cases: mine, seed: seed * 1_000_003 + i, binary };
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData });
      worker.on("error", reject);
      worker.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`worker: ${code}`))));
    });
  });
  await Promise.all(runs);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${cases} random triples each of transform, compose, invert and apply equal quill-delta 5.1 ` +
      `(seed ${seed}, ${seconds} s)`,
  );
}

if (isMainThread) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
} else {
  await work(workerData);
  parentPort.close();
}
