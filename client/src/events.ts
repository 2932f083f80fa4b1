// What a connection tells of a document and of the user's work in it.

import type Delta from "quill-delta";

import type { Role, Who } from "./frame.js";
import type { Person } from "./presence.js";

/**
 * Where the user's work is:
 * `connecting` nothing has been opened yet; `local` typed, not sent; `sent` on its way;
 * `saved` acknowledged: on the disks of a majority; `saving` the servers are choosing a new
 * leader; `offline` no connection, trying again; `closed` for good, `reason` says why.
 */
export type Status = "connecting" | "local" | "sent" | "saved" | "saving" | "offline" | "closed";

/** What a user typed and what is not in the document, or not known to be. */
export interface ConflictCopy {
  /** The pieces that were typed, in the document's order. */
  typed: string[];
  /** The whole document as it was on the screen. */
  text: string;
  reason: string;
}

export interface Events {
  /** Something of another's: apply it to the screen. Not called for local work. */
  change(delta: Delta): void;
  status(status: Status, reason: string): void;
  /** A document was opened, or opened again. */
  opened(about: { title: string; kind: string; role: Role; user: string }): void;
  role(role: Role): void;
  /** The document has another title now. */
  title(title: string): void;
  /**
   * Another was here at this time, in milliseconds since the Unix epoch: when this document
   * was opened, or when they changed something.
   */
  here(who: Who, at: number): void;
  /** All others who are here, and where; after `change` told of the text that this is about. */
  people(people: Person[]): void;
  /** Milliseconds from each keystroke to its acknowledgement. */
  saved(tookMs: number[]): void;
  /** This is not in the document and will not come into it. */
  conflict(copy: ConflictCopy): void;
  /**
   * This is not known yet to be saved: it was sent and not answered, or waits behind what was.
   * Null when that is settled; what is lost was then told as a conflict.
   */
  unconfirmed(copy: ConflictCopy | null): void;
}
