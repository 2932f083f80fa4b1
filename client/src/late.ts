// Below the window. A server cannot go on with a client whose last revision it has no events
// behind any more: it sends the whole document. Where something is unsent, that is no use: it
// has to be moved past each event in between. They are kept elsewhere (`GET …/ops`), and are
// taken in here, page by page, as if they had come on the feed.

import type Delta from "quill-delta";

import { ApiError, type Page, type PastEvent } from "./api.js";
import { DivergedError, type ClientDocument } from "./document.js";
import type { At } from "./frame.js";

/** What lies between what a client has and what the server can continue from. */
export interface Missed {
  /** The revision to come to, with its hash. */
  to: At;
  /** The document there, without any unsent work. */
  content: Delta;
}

export interface CatchingUp {
  /** Events from a revision on, at most to another one. */
  page(from: number, to: number): Promise<Page>;
  /** Whether the event is the operation in flight, as it was applied. */
  isOwn(event: PastEvent): boolean;
  /** What others did, as one change of the screen. */
  change(delta: Delta): void;
  acked(): void;
  /** Whether it is still wanted. */
  goesOn(): boolean;
  /** Milliseconds that never go back. */
  now(): number;
}

/** The page can do something else after so long. */
const SLICE_MS = 8;

/**
 * Takes in all up to `missed.to`, from where `document` is; the user may go on typing. When it
 * fails, the document is as far as it came, and can be led on from there.
 *
 * Throws an `ApiError` for a page that could not be had, and a `DivergedError` where the document
 * does not become the server's.
 */
export async function catchUp(document: ClientDocument, missed: Missed, how: CatchingUp): Promise<void> {
  const { to } = missed;
  while (document.rev < to.rev) {
    const { events } = await how.page(document.rev + 1, to.rev);
    if (!how.goesOn()) return;
    if (events.length === 0) throw new ApiError(503, "", `no event after ${document.rev} yet`);
    for (let taken = 0; taken < events.length; ) {
      const end = how.now() + SLICE_MS;
      const slice = takeIn(() =>
        document.missed(events, taken, how.isOwn, () => how.now() >= end),
      );
      taken = slice.taken;
      how.change(slice.change);
      if (slice.acked) how.acked();
      await breath();
      if (!how.goesOn()) return;
    }
  }
  if (document.rev !== to.rev || !document.isBuiltOn(missed.content)) {
    throw new DivergedError(`revision ${document.rev} is not the server's`);
  }
  document.mark(to);
}

/** Whatever an event does that cannot be: what is shown is then not what the server has. */
function takeIn<T>(some: () => T): T {
  try {
    return some();
  } catch (error) {
    throw error instanceof DivergedError ? error : new DivergedError(String(error));
  }
}

/** A turn of the event loop. Timers would wait, for a second each in the background. */
function breath(): Promise<void> {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(null);
  });
}
