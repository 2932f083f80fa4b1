// A development cluster of real processes, for a test.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");

const READY_MS = 60_000;
const END_MS = 20_000;

/** Starts it on free ports; `ready` is the line that it prints: url, http, token, pids. */
export async function startCodraft() {
  const data = await mkdtemp(join(tmpdir(), "codraft-browser-"));
  const command = join(target, "debug", "codraft");
  const child = spawn(command, ["dev", "--json", "--data", data], {
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
    const late = setTimeout(() => child.kill("SIGKILL"), END_MS);
    await ended;
    clearTimeout(late);
    await rm(data, { recursive: true, force: true });
  };
  try {
    const ready = await firstLine(child, ended);
    return { ready, log, stop };
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
