// A tab that comes to show something else than what it was told, here because a letter is another
// one in what the page's socket brings: it says what it shows, and is put right.
//
//   node diverged.mjs

import assert from "node:assert/strict";

import { useCodraft } from "./codraft.mjs";
import { hasStatus, isUnharmed, launch, openWindow, textOf, type, until } from "./windows.mjs";

/** Before the page loads: while `window.spoils`, each € that another types arrives as ₭. */
function spoilable(page) {
  return page.addInitScript(() => {
    const [from, to] = ["€", "₭"].map((letter) => [...new TextEncoder().encode(letter)]);
    const spoil = (data) => {
      const bytes = new Uint8Array(data.slice(0));
      for (let i = 0; window.spoils && i + from.length <= bytes.length; i += 1) {
        if (from.every((byte, n) => bytes[i + n] === byte)) bytes.set(to, i);
      }
      return bytes.buffer;
    };
    window.WebSocket = class extends WebSocket {
      set onmessage(heard) {
        super.onmessage = heard && (({ data }) => heard({ data: spoil(data) }));
      }
    };
  });
}

async function divergences(codraft) {
  const answer = await fetch(`${codraft.ready.http}/metrics`);
  return Number(/^codraft_router_divergences_total (\d+)$/m.exec(await answer.text())?.[1]);
}

async function comesApart(browser, codraft) {
  const before = await divergences(codraft);
  const left = await openWindow(browser, codraft.ready.url);
  await left.editor.click();
  await type(left, "from 5", {});
  await hasStatus(left.page, "saved");
  const right = await openWindow(browser, left.page.url(), spoilable);
  await until("both have it", async () => (await textOf(right.page)) === "from 5");
  await right.page.evaluate(() => (window.spoils = true));
  await left.page.keyboard.insertText("€");
  await until("the right one came apart", async () => (await textOf(right.page)) === "from 5₭");
  await right.page.evaluate(() => (window.spoils = false));

  await right.page.context().setOffline(true);
  await hasStatus(right.page, "offline");
  await right.editor.click();
  await right.editor.press("Control+End");
  await type(right, " each", {});
  assert.equal(await textOf(right.page), "from 5₭ each");
  await right.page.context().setOffline(false);
  await until("the right one is put right", async () => (await textOf(right.page)) === "from 5€ each");
  await until("the left one has it", async () => (await textOf(left.page)) === "from 5€ each");
  await hasStatus(right.page, "saved");
  assert.equal(await divergences(codraft), before + 1);

  await right.editor.press("Control+End");
  await type(right, "!", {});
  await until("both go on", async () => {
    const texts = await Promise.all([textOf(left.page), textOf(right.page)]);
    return texts.every((text) => text === "from 5€ each!");
  });
  for (const window of [left, right]) await isUnharmed(window);
  console.log("ok: a tab that came apart was put right, with what was typed offline; counted once");
}

const codraft = await useCodraft();
let browser;
try {
  browser = await launch();
  await comesApart(browser, codraft);
} catch (error) {
  console.error(error);
  console.error(codraft.log.slice(-40).join("\n"));
  process.exitCode = 1;
} finally {
  await browser?.close();
  await codraft.stop();
}
