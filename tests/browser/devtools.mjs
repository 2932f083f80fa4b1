// A browser by its raw devtools: a page that a test library drives is held visible, and what is
// visible is never frozen.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const END_MS = 10_000;

/** Starts one; `tab(url)` opens a tab in front of the others. */
export async function startBrowser() {
  const profile = await mkdtemp(join(tmpdir(), "codraft-profile-"));
  const browser = spawn(
    process.env.CHROMIUM ?? "/usr/bin/chromium",
    ["--headless=new", "--remote-debugging-pipe", `--user-data-dir=${profile}`]
      .concat(["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "about:blank"]),
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
  );
  const ended = new Promise((done) => browser.once("exit", done));
  const [to, from] = [browser.stdio[3], browser.stdio[4]];
  const waiting = new Map();
  let [next, rest] = [1, ""];
  from.setEncoding("utf8");
  from.on("data", (data) => {
    const messages = (rest + data).split("\0");
    rest = messages.pop();
    for (const { id, result, error } of messages.map((one) => JSON.parse(one))) {
      if (error) waiting.get(id)?.reject(new Error(error.message));
      else waiting.get(id)?.resolve(result);
      waiting.delete(id);
    }
  });
  to.on("error", () => {});
  const send = (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      waiting.set(next, { resolve, reject });
      to.write(`${JSON.stringify({ id: next, method, params, sessionId })}\0`);
      next += 1;
    });
  const stop = async () => {
    browser.kill("SIGTERM");
    const late = setTimeout(() => browser.kill("SIGKILL"), END_MS);
    await ended;
    clearTimeout(late);
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  const tab = async (url) => {
    const { targetId } = await send("Target.createTarget", { url });
    const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
    await send("Page.enable", {}, sessionId);
    return {
      /** What an expression is in the page, in JSON. */
      is: async (expression) => {
        const asked = { expression, returnByValue: true, awaitPromise: true };
        return (await send("Runtime.evaluate", asked, sessionId)).result.value;
      },
      /** `frozen` or `active`. */
      becomes: (state) => send("Page.setWebLifecycleState", { state }, sessionId),
      front: () => send("Target.activateTarget", { targetId }),
    };
  };
  return { tab, stop };
}
