// The client half of a document: what the user typed, what is under way, and what others did
// meanwhile. One operation is in flight at a time and its bytes never change once sent (but see
// `rebase`); what is typed meanwhile waits in one composed operation behind it. No sockets, clocks
// or screens here.
// The reference is `ot/src/client.rs`.

import Delta, { Op } from "quill-delta";

import type { PastEvent } from "./api.js";
import { Branch } from "./branch.js";
import { canonical } from "./canonical.js";
import { encodeDelta } from "./delta-binary.js";
import type { At } from "./frame.js";
import { isHighSurrogate, isLowSurrogate } from "./pairs.js";

/** The two sides no longer have the same document. Cannot be mended here: open it again. */
export class DivergedError extends Error {
  override name = "DivergedError";
}

/** An operation under way. */
export interface Inflight {
  readonly seq: number;
  /** The revision it was made against; sent again with the same one. */
  readonly base: number;
  /** As it was sent, and is sent again. */
  readonly bytes: Uint8Array;
  /** The same operation, moved past all that arrived since. */
  readonly moved: Branch;
}

/** What a user did and what is not acknowledged; the text of it in pieces. */
export interface Unsaved {
  /** All that was typed, in the document's order. */
  typed: string[];
  /** Of that, what was never sent. Null when nothing waits. */
  waiting: string[] | null;
  /** Whether something was sent and not answered, so that the server may have it. */
  isSent: boolean;
  /** The whole document as it was on the screen. */
  text: string;
}

/**
 * Components of one operation. The servers take ten times as many, but move a late one past at
 * most 65,536 components of others before it has to be rebased.
 */
const COMPONENTS_MAX = 1_000;

export class ClientDocument {
  private shown = new Delta();
  private seen = 0;
  private seq = 0;
  private flying: Inflight | null = null;
  /**
   * In flight since before a state of the server that does not hold it. It is not on the screen
   * and cannot be moved, but it may still be applied, so it is sent until it is answered.
   */
  private unsettled: { inflight: Inflight; typed: string[] } | null = null;
  private waiting: Branch | null = null;
  private hashed: At | null = null;

  /** The content with all local work in it. */
  get content(): Delta {
    return this.shown;
  }

  /** The last revision received. */
  get rev(): number {
    return this.seen;
  }

  get inflight(): Readonly<Inflight> | null {
    return this.flying ?? this.unsettled?.inflight ?? null;
  }

  /** Whether what is in flight is not on the screen. */
  get isSettling(): boolean {
    return this.unsettled !== null;
  }

  get hasPending(): boolean {
    return this.waiting !== null;
  }

  /** Whether all that was typed is acknowledged. */
  get isSaved(): boolean {
    return this.inflight === null && this.waiting === null;
  }

  /**
   * The newest revision whose hash is known, to resume from. What comes again because it lies
   * before `rev` is skipped by the reader.
   */
  get resumeFrom(): At | null {
    return this.hashed;
  }

  get text(): string {
    return textOf(this.shown);
  }

  /**
   * A state of the server, with none of the local work but what it had applied by then: all up
   * to the sequence number `acked`. What waits is dropped; what is in flight and not in that
   * state is unsettled. `replacement` tells what changes on the screen. Returns what is not on it
   * any more.
   */
  open(content: Delta, at: At, acked = 0): Unsaved | null {
    const unsaved = this.unsaved(acked);
    if (this.flying) {
      this.unsettled = { inflight: this.flying, typed: insertsOf(this.flying.moved.toDelta()) };
      this.flying = null;
    }
    if (this.unsettled && this.unsettled.inflight.seq <= acked) this.unsettled = null;
    if (!this.unsettled) this.seq = acked;
    this.waiting = null;
    this.shown = content;
    this.seen = at.rev;
    this.hashed = at;
    return unsaved;
  }

  /**
   * The same where what is shown has come apart from what the server has, by whatever mistake: that
   * is taken for another's change, and what waits is moved past it.
   */
  mend(content: Delta, at: At, acked = 0): Unsaved | null {
    const { waiting } = this;
    const before = waiting && without(this.shown, waiting.toDelta());
    this.waiting = null;
    const unsaved = this.open(content, at, acked);
    if (waiting && before) {
      waiting.pass(replacement(before, content, UNKNOWN));
      this.shown = content.compose(waiting.toDelta());
      this.waiting = waiting.isEmpty ? null : waiting;
    }
    return unsaved;
  }

  /** What is shown is no state of the server any more, so nothing can be resumed from it. */
  forget(): void {
    this.hashed = null;
  }

  /**
   * None of the local work will be sent, and what was in flight is known not to be applied: the
   * next operation is the first one of another client. What is shown stays until `open`.
   */
  discard(): void {
    this.flying = null;
    this.unsettled = null;
    this.waiting = null;
    this.seq = 0;
    this.forget();
  }

  /**
   * The same, but all of the local work stays and waits, for what is shown to be mended.
   */
  takeBack(): void {
    const work = this.flying?.moved;
    if (work && this.waiting) work.compose(this.waiting.toDelta());
    if (work) this.waiting = work.isEmpty ? null : work;
    this.flying = null;
    this.seq = 0;
    this.forget();
  }

  mark(at: At): void {
    // A mark of what has not been received says nothing about what is shown.
    if (at.rev <= this.seen && (this.hashed === null || at.rev >= this.hashed.rev)) {
      this.hashed = at;
    }
  }

  /** The user did this, to the content as it is. */
  local(made: Delta): void {
    const delta = canonical(made);
    this.shown = applied(this.shown, delta);
    this.waiting ??= new Branch();
    this.waiting.compose(delta);
    if (this.waiting.isEmpty) this.waiting = null;
  }

  /**
   * What to send now, if nothing is under way and something waits. At most `bytesMax` of it:
   * a long paste goes out in pieces, and so does what changes many places.
   */
  send(bytesMax = Number.POSITIVE_INFINITY): Readonly<Inflight> | null {
    if (this.inflight !== null || this.waiting === null) return null;
    const [first, rest] = split(this.waiting.toDelta(), bytesMax, COMPONENTS_MAX);
    this.waiting = rest && new Branch(rest);
    this.seq += 1;
    const [bytes, moved] = [encodeDelta(first), new Branch(first)];
    this.flying = { seq: this.seq, base: this.seen, bytes, moved };
    return this.flying;
  }

  /**
   * The server will never apply what is in flight, since its base is too old: from here on it is
   * the same operation moved past all that was received since, under its old number.
   */
  rebase(): void {
    if (this.flying === null) return;
    this.flying = { ...this.flying, base: this.seen, bytes: encodeDelta(this.flying.moved.toDelta()) };
  }

  /** The own operation took this revision. */
  acked(rev: number): void {
    this.follows(rev);
    this.flying = null;
  }

  /** What was unsettled is answered: it is in the document, or about to be, as another's. */
  settled(): void {
    this.unsettled = null;
  }

  /**
   * Another's operation took this revision, and local work is moved past it. Returns what changes
   * on the screen: `show` it, alone or composed with what comes after, before anything is typed.
   */
  remote(rev: number, delta: Delta): Delta {
    this.follows(rev);
    // The operation in flight comes before what waits in the order, so one by one.
    let theirs = delta;
    if (this.flying) theirs = this.flying.moved.pass(theirs);
    if (this.waiting) theirs = this.waiting.pass(theirs);
    if (this.waiting?.isEmpty) this.waiting = null;
    return theirs;
  }

  /** This is on the screen now. */
  show(change: Delta): void {
    this.shown = applied(this.shown, change);
  }

  /** An event without text took this revision. */
  passed(rev: number): void {
    this.follows(rev);
  }

  /**
   * Takes in events that come from elsewhere than the feed, from place `from` on, until it is
   * `enough`; at least one. What changes on the screen comes as one.
   *
   * Throws where the first one cannot be taken in; one behind it waits for the next call.
   */
  missed(
    events: readonly PastEvent[],
    from: number,
    isOwn: (event: PastEvent) => boolean,
    enough: () => boolean,
  ): { taken: number; change: Delta; acked: boolean } {
    const changes = new Branch();
    let acked = false;
    let taken = from;
    do {
      const event = events[taken] as PastEvent;
      try {
        if (event.kind !== "edit" || !event.ops) this.passed(event.rev);
        else if (isOwn(event)) {
          this.acked(event.rev);
          acked = true;
        } else changes.compose(this.remote(event.rev, new Delta(event.ops)));
      } catch (error) {
        // What was done so far has to come to the screen before anything else is.
        if (taken > from) break;
        throw error;
      }
      taken += 1;
    } while (taken < events.length && !enough());
    const change = changes.toDelta();
    this.show(change);
    return { taken, change, acked };
  }

  /** What tells where a position of the servers' document is on the screen. */
  positions(): (at: number) => number {
    const works = [this.flying?.moved, this.waiting].filter((one) => one != null);
    const deltas = works.map((work) => work.toDelta());
    return (at) => deltas.reduce((to, delta) => delta.transformPosition(to, true), at);
  }

  /** Whether `content`, the server's, makes what is shown together with what is not saved. */
  isBuiltOn(content: Delta): boolean {
    const work = [this.flying?.moved, this.waiting].filter((one) => one != null);
    const built = work.reduce((before, one) => before.compose(one.toDelta()), content);
    const [here, there] = [encodeDelta(this.shown), encodeDelta(built)];
    return here.length === there.length && here.every((byte, i) => byte === there[i]);
  }

  /** What is not saved. `acked`: the last sequence number that the server is known to have applied. */
  unsaved(acked: number): Unsaved | null {
    const isSent = (this.inflight?.seq ?? 0) > acked;
    if (!isSent && !this.waiting) return null;
    const sent = (isSent && this.flying?.moved.toDelta()) || new Delta();
    const waiting = this.waiting?.toDelta();
    const typed = insertsOf(sent.compose(waiting ?? new Delta()));
    return {
      typed: isSent && this.unsettled ? [...this.unsettled.typed, ...typed] : typed,
      // What waits is relative to what flies; its inserts are the same without it.
      waiting: waiting ? insertsOf(waiting) : null,
      isSent,
      text: this.text,
    };
  }

  private follows(rev: number): void {
    if (rev !== this.seen + 1) throw new DivergedError(`revision ${rev} after ${this.seen}`);
    this.seen = rev;
  }
}

export function textOf(content: Delta): string {
  return content.ops.map((op) => (typeof op.insert === "string" ? op.insert : "\uFFFC")).join("");
}

/** What was put aside before, and what is not saved since. */
export function merged(before: Unsaved | null, since: Unsaved | null): Unsaved | null {
  if (!before || !since) return before ?? since;
  if (!since.waiting) return { ...before, isSent: since.isSent };
  return {
    ...since,
    typed: [...before.typed, ...since.waiting],
    waiting: [...(before.waiting ?? []), ...since.waiting],
  };
}

function insertsOf(delta: Delta): string[] {
  const inserts = delta.ops.map((op) => op.insert);
  return inserts.filter((insert): insert is string => typeof insert === "string");
}

function applied(content: Delta, delta: Delta): Delta {
  const needs = delta.ops.reduce((sum, op) => {
    return sum + (op.delete ?? (typeof op.retain === "number" ? op.retain : 0));
  }, 0);
  if (needs > content.length()) {
    throw new DivergedError(`an operation on ${needs} units, of which ${content.length()} exist`);
  }
  return content.compose(delta);
}

/** What was deleted and is not known any more. */
const UNKNOWN = "\0";

/** A content as it was before `work` was done; text that was deleted is unknown. */
function without(content: Delta, work: Delta): Delta {
  const before = new Delta();
  let at = 0;
  for (const op of work.ops) {
    const units = Op.length(op);
    if (op.delete !== undefined) before.insert(UNKNOWN.repeat(units));
    else {
      if (op.retain !== undefined) before.ops.push(...content.slice(at, at + units).ops);
      at += units;
    }
  }
  return before.concat(content.slice(at));
}

/**
 * From one content to another, keeping what both begin and end with. `unknown` stands in the first
 * one for what may be anything.
 */
export function replacement(before: Delta, after: Delta, unknown?: string): Delta {
  const [old, next] = [textOf(before), textOf(after)];
  const isSame = (i: number, j: number): boolean => {
    // Half a pair is taken with the other one or not at all.
    return old[i] === next[j] || (old[i] === unknown && !isHighSurrogate(next, j) && !isLowSurrogate(next, j));
  };
  const most = Math.min(old.length, next.length);
  let start = 0;
  while (start < most && isSame(start, start)) start += 1;
  if (start === old.length && start === next.length) return new Delta();
  if (start > 0 && isHighSurrogate(old, start - 1)) start -= 1;
  let end = 0;
  while (end < most - start && isSame(old.length - 1 - end, next.length - 1 - end)) end += 1;
  if (start + end < next.length) {
    // What is not known is the same where it stands between what is, and nowhere else.
    while (start > 0 && old[start - 1] === unknown) start -= 1;
    while (end > 0 && old[old.length - end] === unknown) end -= 1;
  }
  if (end > 0 && isLowSurrogate(old, old.length - end)) end -= 1;
  const inserted = after.slice(start, next.length - end);
  return new Delta()
    .retain(start)
    .concat(inserted)
    .delete(old.length - start - end)
    .chop();
}

/** An operation as one of at most so many bytes and components, and the rest after it. */
function split(delta: Delta, bytesMax: number, componentsMax: number): [Delta, Delta | null] {
  const few = delta.ops.length <= componentsMax;
  if (few && encodeDelta(delta).length <= bytesMax) return [delta, null];
  const first = new Delta();
  let bytes = 0;
  // Units of the first part's result that the rest has to step over.
  let passed = 0;
  for (const [i, op] of delta.ops.entries()) {
    const size = encodeDelta(new Delta([op])).length;
    const fits = i < componentsMax && bytes + size <= bytesMax;
    if (fits || (i === 0 && typeof op.insert !== "string")) {
      first.push(op);
      bytes += size;
      passed += op.delete === undefined ? new Delta([op]).length() : 0;
      continue;
    }
    const rest = new Delta().retain(passed);
    const others = delta.ops.slice(i);
    if (i < componentsMax && typeof op.insert === "string") {
      // Three bytes are the most that one unit takes.
      let units = Math.min(op.insert.length, Math.floor((bytesMax - bytes - 8) / 3));
      if (units > 0 && isHighSurrogate(op.insert, units - 1)) units -= 1;
      if (units <= 0 && i === 0) units = isHighSurrogate(op.insert, 0) ? 2 : 1;
      if (units > 0) {
        first.insert(op.insert.slice(0, units), op.attributes);
        rest.retain(units);
        others[0] = { ...op, insert: op.insert.slice(units) };
      }
    }
    for (const other of others) rest.push(other);
    return [first.chop(), rest.chop()];
  }
  return [first, null];
}
