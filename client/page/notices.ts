// What the user has to be told and may act on.

import type { ConflictCopy } from "../src/connection.js";

const root = (): HTMLElement => document.getElementById("notices") as HTMLElement;

/** Text that could not be put into the document: kept here until it is dismissed. */
export function conflictCopy(copy: ConflictCopy): void {
  const typed = copy.typed.join("\n");
  const notice = box("What you typed last was not saved", copy.reason);
  notice.dataset["testid"] = "conflict";
  if (typed) {
    const text = document.createElement("pre");
    text.textContent = typed;
    text.tabIndex = 0;
    notice.append(text);
  }
  const actions = document.createElement("div");
  actions.className = "actions";
  if (typed) actions.append(button("Copy what I typed", (self) => copyText(typed, self)));
  actions.append(
    button("Copy my whole document", (self) => copyText(copy.text, self)),
    button("Dismiss", () => notice.remove()),
  );
  notice.append(actions);
  root().append(notice);
}

/** Nothing can be done here any more. */
export function failure(title: string, detail: string): void {
  const notice = box(title, detail);
  notice.classList.add("bad");
  root().append(notice);
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
