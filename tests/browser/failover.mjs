// Two windows on one document. Both type at once, and the leader is killed in between by the
// page's own button; then a window is cut off, and the router killed. Nothing may be lost or
// doubled, no window may reload.
//
//   node failover.mjs                  the test
//   SCREENSHOT=1 node failover.mjs     and writes docs/two-windows.png
//   CODRAFT_URL=… node failover.mjs    on a cluster that runs (`make dev` prints its address);
//                                      its router is not killed

import assert from "node:assert/strict";

import { useCodraft } from "./codraft.mjs";
import { picture } from "./picture.mjs";
import {
  hasStatus,
  isUnharmed,
  killLeader,
  launch,
  leader,
  openWindow,
  textOf,
  type,
  until,
  waitForLeader,
} from "./windows.mjs";

// Letters that one window alone types, so that each can be counted.
const LEFT = "The quick brown fox jumps over the lazy dog, again and again. ".repeat(3).toUpperCase();
const RIGHT = "pack my box with five dozen liquor jugs and count them twice. ".repeat(3);

/** The characters of `text` that `typed` could have made, in the order of the document. */
function written(text, alphabet) {
  return [...text].filter((character) => alphabet.test(character)).join("");
}

/** Both type at once, and the leader is killed in between. */
async function failover(browser, codraft) {
  const left = await openWindow(browser, codraft.ready.url);
  await left.editor.click();
  // Each writes in a line of its own, so the order within a line is the order of typing.
  await left.editor.press("Enter");
  await hasStatus(left.page, "saved");
  const right = await openWindow(browser, left.page.url());
  await until("both have the line", async () => (await textOf(right.page)) === "\n");
  await left.editor.press("Control+Home");
  await right.editor.click();
  await right.editor.press("Control+End");

  const before = await waitForLeader(left.page);
  const [a, b] = [{ typed: 0 }, { typed: 0 }];
  const typing = Promise.all([type(left, LEFT, a), type(right, RIGHT, b)]);
  await until("both are typing", () => a.typed > 40 && b.typed > 40);
  await killLeader(left.page);
  const atKill = { ...a };
  await until("another leads", async () => {
    const now = await leader(left.page);
    return now !== null && now !== before;
  });
  await typing;
  assert.ok(atKill.typed < LEFT.length, "the leader died while they typed");

  await Promise.all([hasStatus(left.page, "saved"), hasStatus(right.page, "saved")]);
  const expected = `${LEFT}\n${RIGHT}`;
  await until("equal contents", async () => {
    const texts = await Promise.all([textOf(left.page), textOf(right.page)]);
    return texts[0] === texts[1] && texts[0].length === expected.length;
  });
  const text = await textOf(left.page);
  assert.equal(written(text, /[A-Z]/), written(LEFT, /[A-Z]/), "the left one's, each once");
  assert.equal(written(text, /[a-z]/), written(RIGHT, /[a-z]/), "the right one's, each once");
  assert.equal(text, expected);
  for (const window of [left, right]) await isUnharmed(window);
  const third = await openWindow(browser, left.page.url());
  await until("a fresh window has it", async () => (await textOf(third.page)) === expected);
  const times = await left.page.locator("#times").innerText();
  console.log(`ok: ${expected.length} characters; ${before} led and was killed; ${times.replace(/\s+/g, " ")}`);
}

/** One window is cut off, then the router is killed: what was typed meanwhile comes through. */
async function away(browser, codraft) {
  const left = await openWindow(browser, codraft.ready.url);
  const right = await openWindow(browser, left.page.url());
  await left.editor.click();
  await right.editor.click();
  await type(left, "ONE ", { typed: 0 });
  await until("both have it", async () => (await textOf(right.page)) === "ONE ");

  await left.page.context().setOffline(true);
  await hasStatus(left.page, "offline");
  await type(left, "TWO ", { typed: 0 });
  await right.editor.press("Control+End");
  await type(right, "three ", { typed: 0 });
  await hasStatus(right.page, "saved");
  assert.equal(await textOf(right.page), "ONE three ");
  await left.page.context().setOffline(false);
  await until("both have both", async () => {
    const texts = await Promise.all([textOf(left.page), textOf(right.page)]);
    return texts.every((text) => text === "ONE three TWO ");
  });

  const router = codraft.ready.pids?.router;
  if (router) process.kill(router, "SIGKILL");
  await type(left, "FOUR", { typed: 0 });
  await hasStatus(left.page, "saved");
  await until("both have all", async () => {
    const texts = await Promise.all([textOf(left.page), textOf(right.page)]);
    return texts.every((text) => text === "ONE three TWO FOUR");
  });
  for (const window of [left, right]) await isUnharmed(window);
  const also = router ? " and while the router was dead" : "";
  console.log(`ok: typed while cut off${also}, nothing lost or doubled`);
}

const codraft = await useCodraft();
let browser;
try {
  browser = await launch();
  await failover(browser, codraft);
  await away(browser, codraft);
  if (process.env.SCREENSHOT) await picture(browser, codraft);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
