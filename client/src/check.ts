// Whether what is shown is what the servers have. A digest of it is said now and then, when
// nothing is under way; a router that finds another one has the document opened again.

import { encodeDelta } from "./delta-binary.js";
import type { ClientDocument } from "./document.js";

/** At most so often, and after so long without a change. */
const EVERY_MS = 60_000;

/** SHA-256 of the document's binary form at a revision. */
export interface Check {
  rev: number;
  digest: Uint8Array;
}

export class Checks {
  private content: unknown = null;
  private rev = -1;
  /** Since when they are the same, and when the last check was made. */
  private since = 0;
  private checkedAt = Number.NEGATIVE_INFINITY;
  private isAsked = false;
  private isOff = false;

  constructor(
    private readonly document: ClientDocument,
    /** Milliseconds that never go back. */
    private readonly now: () => number,
  ) {}

  /** As soon as all is saved: what is shown was put together anew. */
  ask(): void {
    this.isAsked = true;
  }

  /** The digests do not agree where the documents do, which no opening again would mend. */
  giveUp(): void {
    console.warn("codraft: the digest of the document is not the servers', and the document is");
    this.isOff = true;
  }

  /** To be asked now and then: what is to be said now, if anything is. */
  async due(): Promise<Check | null> {
    const { document } = this;
    const { rev, content } = document;
    const now = this.now();
    if (content !== this.content || rev !== this.rev) {
      [this.content, this.rev, this.since] = [content, rev, now];
    }
    const isIdle = Math.min(now - this.since, now - this.checkedAt) >= EVERY_MS;
    // Where a page did not come by TLS, browsers have no digests.
    const subtle = globalThis.crypto?.subtle;
    if (!subtle || this.isOff || !document.isSaved || !(isIdle || this.isAsked)) return null;
    this.isAsked = false;
    this.checkedAt = now;
    const bytes = encodeDelta(content) as Uint8Array<ArrayBuffer>;
    const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
    const isSame = document.rev === rev && document.content === content && document.isSaved;
    return isSame ? { rev, digest } : null;
  }
}
