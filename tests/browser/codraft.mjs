// A development cluster of real processes, for a test: one that it starts, or the one whose
// address is in CODRAFT_URL.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");

const READY_MS = 60_000;
const END_MS = 20_000;

/** `ready` is what `codraft dev --json` prints; of a cluster that runs already no pids are known. */
export async function useCodraft() {
  const running = process.env.CODRAFT_URL;
  if (!running) return startCodraft();
  const { origin, hash } = new URL(running);
  const token = new URLSearchParams(hash.slice(1)).get("token");
  if (!token) throw new Error("CODRAFT_URL has no #token=…");
  // Without a document, should it name one: every test begins with one of its own.
  const url = `${origin}/#${new URLSearchParams({ token })}`;
  return { ready: { url, http: origin, token, pids: null }, log: [], stop: async () => {} };
}

/** Makes a document, as `POST /v1/docs` takes it; returns where the page has it. */
export async function createDocument({ http, token }, document) {
  const response = await fetch(`${http}/v1/docs`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(document),
  });
  if (response.status !== 201) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  return `${http}/#${new URLSearchParams({ token, doc: (await response.json()).id })}`;
}

/** The command as it was built; CODRAFT_BIN names another one. */
function command() {
  const built = ["debug", "release"].map((profile) => join(target, profile, "codraft"));
  return process.env.CODRAFT_BIN ?? built.find((path) => existsSync(path)) ?? built[0];
}

/** Starts it on free ports, with further arguments. */
export async function startCodraft(args = []) {
  const data = await mkdtemp(join(tmpdir(), "codraft-browser-"));
  const child = spawn(command(), ["dev", "--json", "--data", data, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    log.push(line);
    if (log.length > 400) log.shift();
  });
  const ended = new Promise((done) => child.once("exit", done));
  const stop = async () => {
    child.kill("SIGTERM");
    // Should a test have stopped it.
    child.kill("SIGCONT");
    const late = setTimeout(() => child.kill("SIGKILL"), END_MS);
    await ended;
    clearTimeout(late);
    await rm(data, { recursive: true, force: true });
  };
  try {
    const ready = await firstLine(child, ended);
    return { ready, log, stop, pid: child.pid };
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${log.join("\n")}`);
  }
}

function firstLine(child, ended) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("codraft was not ready in time")), READY_MS);
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => {
      if (!line.startsWith("{")) return;
      clearTimeout(late);
      resolve(JSON.parse(line));
    });
    child.once("error", reject);
    void ended.then((code) => reject(new Error(`codraft ended with ${code}`)));
  });
}
