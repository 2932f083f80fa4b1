// Where people are in the document. Positions come with the revision that they are of: what is
// ahead of the document waits for it, and what is behind is moved through what came since.

import Delta, { Op } from "quill-delta";

import type { ClientDocument } from "./document.js";
import type { ClientFrame, ServerFrame, Welcome, Who } from "./frame.js";

/** From where a selection was begun to where it ends, which may be before; UTF-16 units. */
export interface Span {
  anchor: number;
  head: number;
}

/** Where somebody is, and what they say of themselves. */
export interface Presence {
  cursor?: number | null;
  selection?: Span | null;
  data?: Record<string, unknown> | null;
}

/** Another who is here; positions on the screen, null where they are not known. */
export interface Person {
  who: Who;
  cursor: number | null;
  selection: Span | null;
  data: Record<string, unknown> | null;
  /** Milliseconds since the Unix epoch, on a server's clock. */
  lastSeen: number;
}

/** Positions in the servers' document, as of its latest revision here. */
interface Standing {
  rev: number;
  cursor: number | null;
  selection: Span | null;
  data: Record<string, unknown> | null;
  lastSeen: number;
}

/** Own changes leave at most so often. */
const EVERY_MS = 100;
/** Events that positions can be moved through. */
const HISTORY_MAX = 1_024;
/** People whose positions are kept. */
const PEOPLE_MAX = 2_048;

export class Presences {
  /** The own one, of those that the router names people by. */
  slot = -1;

  private slots = new Map<number, Who>();
  private here = new Map<number, Standing>();
  /** Of revisions that are not here yet: the latest of each slot. */
  private ahead = new Map<number, Standing>();
  /** The latest events; none for one that changed no text. */
  private history: { slot: number | null; delta: Delta | null }[] = [];
  private isChanged = false;
  /** What is to be said, on the screen, and what was, as others know it. */
  private own: Presence | null = null;
  private said: Standing | null = null;
  private isLive = false;
  private saidAt = Number.NEGATIVE_INFINITY;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly document: ClientDocument,
    private readonly send: (frame: ClientFrame) => void,
    private readonly now: () => number,
    /** Others are elsewhere, or others. */
    private readonly changed: (people: Person[]) => void,
  ) {}

  // ---- Who they are ------------------------------------------------------------------------

  of(slot: number | null): Who | undefined {
    return slot === null ? undefined : this.slots.get(slot);
  }

  /** `client`: the own one. Who is here is said behind the welcome. */
  welcomed({ who, user, you }: Welcome, client: string): void {
    this.forget();
    this.isLive = true;
    this.slots = new Map(who.map((one) => [one.slot, one]));
    // Routers that do not say `you` yet name a client once.
    const own = who.find((one) => one.client === client && one.user === user);
    this.slot = you ?? own?.slot ?? -1;
  }

  named(who: Who): void {
    const before = this.slots.get(who.slot);
    this.slots.set(who.slot, who);
    const isAnother = before && (before.client !== who.client || before.user !== who.user);
    if (isAnother) this.gone(who.slot);
    else if (before && before.name !== who.name) this.isChanged = true;
  }

  /** The socket is gone, and nobody is heard of. */
  forget(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.isLive = false;
    this.isChanged ||= this.here.size > 0;
    this.here.clear();
    this.ahead.clear();
    this.history = [];
    this.said = null;
  }

  // ---- Where they are ----------------------------------------------------------------------

  take(frame: Extract<ServerFrame, { type: "presence" }>): void {
    const { slot, rev, cursor, selection, data, last_seen } = frame;
    if (slot === this.slot) return;
    if (rev === undefined) return this.gone(slot);
    if (this.here.size + this.ahead.size >= PEOPLE_MAX) return;
    // Who came has to be told where this one is, by a revision that they know.
    if (!this.here.has(slot) && this.said && this.said.rev < this.document.rev) this.said = null;
    const standing: Standing = {
      rev,
      cursor: cursor ?? null,
      selection: selection ?? null,
      data: data ?? null,
      lastSeen: last_seen ?? 0,
    };
    this.ahead.delete(slot);
    if (rev > this.document.rev) this.ahead.set(slot, standing);
    else this.put(slot, standing);
  }

  private put(slot: number, standing: Standing): void {
    const events = this.history.slice(Math.max(0, this.history.length - (this.document.rev - standing.rev)));
    if (standing.rev + events.length < this.document.rev) {
      // What came since is not known, so neither is where they are.
      standing.cursor = standing.selection = null;
    }
    for (const event of events) move(standing, slot, event);
    this.here.set(slot, standing);
    this.isChanged = true;
  }

  private gone(slot: number): void {
    this.ahead.delete(slot);
    if (this.here.delete(slot)) this.isChanged = true;
  }

  /** This event took the document's latest revision; `delta`: what it did there. */
  passed(slot: number | null, delta: Delta | null): void {
    const event = { slot, delta };
    this.history.push(event);
    if (this.history.length >= 2 * HISTORY_MAX) this.history = this.history.slice(-HISTORY_MAX);
    for (const [of, standing] of this.here) move(standing, of, event);
    if (this.said) move(this.said, this.slot, event);
    if (delta && this.here.size > 0) this.isChanged = true;
    for (const [of, standing] of this.ahead) {
      if (standing.rev > this.document.rev) continue;
      this.ahead.delete(of);
      this.put(of, standing);
    }
  }

  /** Tells where people are on the screen, where that is another place than before. */
  tell(): void {
    if (!this.isChanged) return;
    this.isChanged = false;
    const shown = this.document.positions();
    const people: Person[] = [];
    for (const [slot, { cursor, selection, data, lastSeen }] of this.here) {
      const who = this.slots.get(slot);
      if (!who) continue;
      people.push({
        who,
        cursor: cursor === null ? null : shown(cursor),
        selection: selection && { anchor: shown(selection.anchor), head: shown(selection.head) },
        data,
        lastSeen,
      });
    }
    this.changed(people);
  }

  // ---- The own one -------------------------------------------------------------------------

  /** Where the user is on the screen; null: not here. */
  say(own: Presence | null): void {
    this.own = own;
    this.flush();
  }

  /** The router asks whether there is a page that runs. */
  answer(): void {
    this.send({ type: "here" });
    // A page that came meanwhile can only take a place of a revision that it knows.
    if (this.said && this.said.rev < this.document.rev) this.said = null;
    this.flush();
  }

  /**
   * Says where the user is, unless the others know it: what is typed moves the author's place for
   * them, too. While something is unsaved a place has no revision.
   */
  flush(): void {
    if (!this.isLive || !this.document.isSaved || this.timer !== undefined || this.isKnown()) return;
    const wait = this.saidAt + EVERY_MS - this.now();
    if (wait > 0) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.flush();
      }, wait);
      return;
    }
    this.saidAt = this.now();
    const { own } = this;
    const { rev } = this.document;
    const [cursor, selection, data] = [own?.cursor ?? null, own?.selection ?? null, own?.data ?? null];
    this.said = own && { rev, cursor, selection, data, lastSeen: 0 };
    // Somebody who is here and nowhere says so by their data.
    const isNowhere = own && cursor === null && selection === null;
    this.send({ type: "presence", rev, cursor, selection, data: isNowhere ? (data ?? {}) : data });
  }

  private isKnown(): boolean {
    const { own, said } = this;
    if (!own || !said) return !own && !said;
    return (
      (own.cursor ?? null) === said.cursor &&
      (own.data ?? null) === said.data &&
      own.selection?.anchor === said.selection?.anchor &&
      own.selection?.head === said.selection?.head
    );
  }
}

/** Moves a place past an event. Where its own author typed, there they are. */
function move(standing: Standing, slot: number, event: { slot: number | null; delta: Delta | null }): void {
  const { delta } = event;
  if (!delta) return;
  const typed = event.slot === slot ? endOf(delta) : null;
  if (typed !== null && standing.cursor !== null) {
    standing.cursor = typed;
    standing.selection = null;
    return;
  }
  // Who is where another inserts stays before it, as editors have it.
  const moved = (at: number): number => delta.transformPosition(at, true);
  if (standing.cursor !== null) standing.cursor = moved(standing.cursor);
  const { selection } = standing;
  if (selection) standing.selection = { anchor: moved(selection.anchor), head: moved(selection.head) };
}

/** Where the last thing ends that an operation inserts or deletes; null: it does neither. */
function endOf(delta: Delta): number | null {
  let at = 0;
  let end: number | null = null;
  for (const op of delta.ops) {
    if (op.delete === undefined) at += Op.length(op);
    if (op.retain === undefined) end = at;
  }
  return end;
}
