// What the user has to be told and may act on.

import type { ConflictCopy } from "../src/events.js";

const root = (): HTMLElement => document.getElementById("notices") as HTMLElement;

/**
 * Text that is not in the document and will not come into it: kept here until it is dismissed.
 * `dismissed` has to move the focus, which goes with the button.
 */
export function conflictCopy(copy: ConflictCopy, dismissed: () => void): void {
  const notice = copyNotice("What you typed last was not saved", copy);
  notice.dataset["testid"] = "conflict";
  const dismiss = button("Dismiss", () => {
    notice.remove();
    dismissed();
  });
  notice.querySelector(".actions")?.append(dismiss);
}

let unconfirmedNotice: HTMLElement | null = null;

/** Text of which it is not known whether the document has it; null once that is known. */
export function unconfirmed(copy: ConflictCopy | null): void {
  unconfirmedNotice?.remove();
  unconfirmedNotice = copy && copyNotice("What you typed last is not known yet to be saved", copy);
  if (unconfirmedNotice) unconfirmedNotice.dataset["testid"] = "unconfirmed";
}

let failureNotice: HTMLElement | null = null;

/** Nothing can be done here any more. Null: it can again. */
export function failure(title: string | null, detail = ""): void {
  failureNotice?.remove();
  failureNotice = null;
  if (title === null) return;
  failureNotice = box(title, detail);
  failureNotice.classList.add("bad");
  root().append(failureNotice);
}

/** Why the document cannot be changed here, or nothing. */
export function readOnly(why: string): void {
  const line = document.getElementById("read-only") as HTMLElement;
  line.hidden = why === "";
  line.textContent = why;
}

/** Copies, and says so on the button for a moment. */
export function copyText(text: string, said: HTMLElement): void {
  const before = (said.dataset["label"] ??= said.textContent ?? "");
  const say = (what: string) => {
    said.textContent = what;
    setTimeout(() => (said.textContent = before), 1_600);
  };
  navigator.clipboard.writeText(text).then(
    () => say("Copied"),
    () => say("Not copied"),
  );
}

function copyNotice(title: string, { reason, typed, text }: ConflictCopy): HTMLElement {
  const notice = box(title, reason);
  const pieces = typed.join("\n");
  if (pieces) {
    const shown = document.createElement("pre");
    shown.textContent = pieces;
    shown.tabIndex = 0;
    notice.append(shown);
  }
  const actions = document.createElement("div");
  actions.className = "actions";
  if (pieces) actions.append(button("Copy what I typed", (self) => copyText(pieces, self)));
  actions.append(button("Copy my whole document", (self) => copyText(text, self)));
  notice.append(actions);
  root().append(notice);
  return notice;
}

function box(title: string, detail: string): HTMLElement {
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.setAttribute("role", "alert");
  const line = document.createElement("p");
  const strong = document.createElement("strong");
  strong.textContent = `${title}. `;
  line.append(strong, detail);
  notice.append(line);
  return notice;
}

function button(label: string, pressed: (self: HTMLButtonElement) => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "button";
  element.textContent = label;
  element.addEventListener("click", () => pressed(element));
  return element;
}
