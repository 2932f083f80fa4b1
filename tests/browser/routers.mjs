// Two windows on one document, each from the page of another router. They meet at the document's
// router, which is killed while both type and stays dead: they go on at the other one, nothing is
// lost or doubled, and no window reloads. Then it comes back, and they with it.

import assert from "node:assert/strict";

import { startCodraft } from "./codraft.mjs";
import { hasStatus, isUnharmed, launch, openWindow, textOf, type, until } from "./windows.mjs";

const LEFT = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG. ".repeat(3);
const RIGHT = "pack my box with five dozen liquor jugs. ".repeat(3);

/** The origin of each socket that a page opens, as they come. */
function socketsOf(page) {
  const opened = [];
  page.on("websocket", (socket) => opened.push(new URL(socket.url()).host));
  return opened;
}

async function meet(browser, codraft) {
  const { routers, pids } = codraft.ready;
  const hosts = routers.map((at) => new URL(at).host);
  let [ofLeft, ofRight] = [[], []];
  const left = await openWindow(browser, codraft.ready.url, async (page) => (ofLeft = socketsOf(page)));
  const address = left.page.url().replace(routers[0], routers[1]);
  const right = await openWindow(browser, address, async (page) => (ofRight = socketsOf(page)));
  assert.equal(new URL(right.page.url()).origin, routers[1]);
  const at = ofLeft.at(-1);
  assert.equal(ofRight.at(-1), at, "they meet");
  const router = hosts.indexOf(at);
  assert.ok(router >= 0, at);

  await left.editor.click();
  await left.editor.press("Enter");
  await until("both have the line", async () => (await textOf(right.page)) === "\n");
  await left.editor.press("Control+Home");
  await right.editor.click();
  await right.editor.press("Control+End");
  const [a, b] = [{ typed: 0 }, { typed: 0 }];
  const typing = Promise.all([type(left, LEFT, a), type(right, RIGHT, b)]);
  await until("both are typing", () => a.typed > 30 && b.typed > 30);
  // Whoever would start it again waits.
  process.kill(codraft.pid, "SIGSTOP");
  process.kill(pids[router === 0 ? "router" : `router-${router + 1}`], "SIGKILL");
  const typed = Math.max(a.typed, b.typed);
  const other = hosts[1 - router];
  await until("both are at the other router", () => ofLeft.at(-1) === other && ofRight.at(-1) === other);
  await typing;
  assert.ok(typed < RIGHT.length, "it died while they typed");
  const all = `${LEFT}\n${RIGHT}`;
  const equal = async () => (await Promise.all([left, right].map(({ page }) => textOf(page)))).every((text) => text === all);
  await until("equal contents", equal);
  await Promise.all([left, right].map(({ page }) => hasStatus(page, "saved")));

  process.kill(codraft.pid, "SIGCONT");
  await until("both are back", () => ofLeft.at(-1) === at && ofRight.at(-1) === at);
  await left.editor.press("Control+Home");
  await type(left, "ON ", { typed: 0 });
  await until("the other sees it", async () => (await textOf(right.page)) === `ON ${all}`);
  for (const window of [left, right]) await isUnharmed(window);
  console.log(`ok: ${all.length} characters; ${at} was killed, ${other} went on, and back they were`);
}

const codraft = await startCodraft(["--routers", "2"]);
let browser;
try {
  browser = await launch();
  await meet(browser, codraft);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
