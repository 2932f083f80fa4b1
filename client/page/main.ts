// The page: one document, named in the address's fragment (`#token=…&doc=…`), which no server
// and no log ever sees.

import { Api, ApiError } from "../src/api.js";
import { Connection } from "../src/connection.js";
import type { Status } from "../src/events.js";
import type { Role } from "../src/frame.js";
import type { Person, Presence, Span } from "../src/presence.js";
import { Editor } from "./editor.js";
import { conflictCopy, copyText, failure, readOnly, unconfirmed } from "./notices.js";
import { People } from "./people.js";
import { Strip } from "./strip.js";
import type { Hears, Surface } from "./surface.js";
import { Title } from "./title.js";

const TEXTS: Record<Status, string> = {
  connecting: "Opening…",
  local: "Not sent yet",
  sent: "Sent…",
  saved: "Saved",
  saving: "Saving… a new leader is being chosen",
  offline: "Offline. What you type is kept here and sent when the connection is back",
  closed: "Closed",
};

const STEADY_MS = 250;

type Kind = "text" | "rich";

function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

function fragment(): URLSearchParams {
  return new URLSearchParams(location.hash.slice(1));
}

/** Of a document, or of a new one of a kind. */
function address(token: string, named: { doc: string } | { kind: Kind }): string {
  return `${location.pathname}#${new URLSearchParams({ token, ...named })}`;
}

let becomingSaved: ReturnType<typeof setTimeout> | undefined;

/**
 * The light at once; while somebody types, the word "Saved" only when it lasts, so that it does
 * not flicker at each key. After anything else at once: the word must not contradict the light.
 */
function showStatus(status: Status): void {
  const text = byId("status-text");
  const before = byId("status").dataset["status"];
  byId("status").dataset["status"] = status;
  clearTimeout(becomingSaved);
  const show = (): void => {
    text.textContent = TEXTS[status];
  };
  const typing = before === "sent" || before === "local";
  if (status === "saved" && typing) becomingSaved = setTimeout(show, STEADY_MS);
  else show();
}

async function start(): Promise<void> {
  const token = fragment().get("token");
  if (!token) {
    addEventListener("hashchange", () => location.reload());
    showStatus("closed");
    return failure("No access token", "Open the whole address that Codraft printed when it started.");
  }
  let doc = fragment().get("doc");
  if (!doc) {
    const kind = fragment().get("kind") === "rich" ? "rich" : "text";
    doc = await new Api(location.origin).createDocument(token, "Untitled", kind);
    history.replaceState(null, "", address(token, { doc }));
  }
  openDocument(token, doc);
}

function openDocument(token: string, doc: string): void {
  let role: Role = "viewer";
  let status: Status = "connecting";
  let opened = false;
  let editor: Surface | null = null;
  let others: readonly Person[] = [];
  const people = new People(byId("people"));
  const strip = new Strip(doc, token);
  const title = new Title(byId("title"), (text) =>
    new Api(location.origin).setTitle(fragment().get("token") ?? token, doc, text),
  );
  const permit = (): void => {
    const why = opened ? whyReadOnly(role) : "";
    readOnly(why);
    title.setEditable(opened && status !== "closed" && (role === "editor" || role === "owner"));
    editor?.setEditable(why === "" && status !== "closed" && status !== "connecting");
  };
  const made = (surface: Surface): void => {
    editor = surface;
    permit();
    editor.people(others);
    connection.say(presenceOf(editor.selection));
    if (status === "saved") editor.focus();
  };
  const hears: Hears = {
    edited: (delta) => connection.edit(delta),
    moved: (selection) => connection.say(presenceOf(selection)),
  };
  const unshowable = (): void => failure("This document cannot be changed here", "The editor does not show it as it is.");
  /** The kind is known when the document is; what it has is told next. */
  const makeEditor = (kind: string): void => {
    if (kind !== "rich") return made(new Editor(byId("editor"), hears));
    import("./rich/editor.js").then(
      ({ RichEditor }) => made(new RichEditor(byId("editor"), connection.document.content, hears, unshowable)),
      () => failure("The editor could not be loaded", "Load the page again."),
    );
  };
  // A token is good for one try; a newer one may have been put into the address.
  let tried = token;

  const connection = new Connection({
    base: location.origin,
    doc,
    token: (refused) => {
      const current = fragment().get("token");
      if (refused && current === tried) return null;
      tried = current ?? "";
      return current;
    },
    events: {
      change: (delta) => editor?.apply(delta),
      status: (now, reason) => {
        const first = status === "connecting";
        if (status === "closed") failure(null);
        const what = opened ? "This document was closed" : "This document cannot be opened";
        status = now;
        showStatus(now);
        permit();
        if (now === "closed") failure(what, sentence(reason));
        else if (first && now === "saved") editor?.focus();
      },
      opened: (about) => {
        if (!opened) makeEditor(about.kind);
        opened = true;
        ({ role } = about);
        title.set(about.title);
        people.show([]);
        connection.say(presenceOf(editor?.selection ?? null));
        permit();
      },
      role: (now) => {
        role = now;
        permit();
      },
      people: (here) => {
        others = here;
        people.show(here);
        editor?.people(here);
      },
      title: (now) => title.set(now),
      saved: (tookMs) => strip.saved(tookMs),
      conflict: (copy) => conflictCopy(copy, () => editor?.focus()),
      unconfirmed,
    },
  });

  const share = byId("share");
  share.hidden = false;
  share.addEventListener("click", () => copyText(location.href, byId("share-text")));
  share.dataset["url"] = location.href;
  for (const [id, kind] of [["new-link", "text"], ["new-text", "text"], ["new-rich", "rich"]] as const) {
    (byId(id) as HTMLAnchorElement).href = address(token, { kind });
  }
  byId("new").hidden = false;
  // A new fragment alone does not load the page again, and for a newer token it must not while
  // something is unsaved.
  addEventListener("hashchange", () => {
    const named = fragment();
    const newer = named.get("token");
    if (named.get("doc") !== doc || !newer || connection.document.isSaved) location.reload();
    else if (status === "closed") connection.open();
    else connection.renew(newer);
  });
  addEventListener("beforeunload", (event) => {
    if (!connection.document.isSaved) event.preventDefault();
  });

  connection.open();
  void strip.start();
}

/** A selection where there is one, else a caret; who only looks is here and nowhere. */
function presenceOf(selection: Span | null): Presence {
  if (!selection) return {};
  return selection.anchor === selection.head ? { cursor: selection.head } : { selection };
}

function whyReadOnly(role: Role): string {
  return role === "editor" || role === "owner" ? "" : "Read only: you may read this document, not change it.";
}

function sentence(text: string): string {
  return text ? `${text[0]?.toUpperCase()}${text.slice(1)}.` : "";
}

start().catch((error: unknown) => {
  showStatus("closed");
  const detail = error instanceof ApiError || error instanceof Error ? error.message : "";
  failure("The document could not be made", sentence(detail));
});
