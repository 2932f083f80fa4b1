// A document on a live socket: ticket, hello, events in, operations out; and all again when that is
// gone. What a user typed leaves this file acknowledged, waiting or as a conflict copy; never lost.

import Delta from "quill-delta";

import { ApiError, type Fetch } from "./api.js";
import { Backoff } from "./backoff.js";
import { Branch } from "./branch.js";
import { Checks } from "./check.js";
import { difference } from "./contents.js";
import { decodeDelta } from "./delta-binary.js";
import { ClientDocument, DivergedError, merged, type Unsaved } from "./document.js";
import type { ConflictCopy, Events, Status } from "./events.js";
import { decodeServer, DIVERGED, encodeClient, newClientId, SUBPROTOCOL } from "./frame.js";
import type { At, ClientFrame, ServerFrame, Welcome } from "./frame.js";
import { catchUp, type Missed } from "./late.js";
import { Presences, type Presence } from "./presence.js";
import { CLOSE_CODES, FOREIGN_CLIENT, REASONS } from "./reasons.js";
import { Routers } from "./routers.js";
import { browserSocket, type SocketLike } from "./socket.js";
import { Times } from "./times.js";

export interface Options {
  /** Where a router is: `https://docs.example`. It names the one for the document, and others. */
  base: string;
  doc: string;
  /**
   * A valid token. `refused`: the last one was, so a new one is needed; answer null when there
   * is none, and the connection closes.
   */
  token(refused: boolean): Promise<string | null> | string | null;
  events: Partial<Events>;
  fetch?: Fetch;
  webSocket?: (url: string, protocols: string[]) => SocketLike;
  random?: () => number;
  /** Milliseconds that never go back. */
  now?: () => number;
}

/** A socket that is silent for this long is asked for a sign of life. */
const QUIET_MS = 15_000;
/** And is given up when none comes within this. */
const ANSWER_MS = 10_000;
/** A connection is made within this time. */
const OPEN_MS = 15_000;
/**
 * And a document comes within this: a large one takes long on a slow line, and of a message a
 * page sees nothing until it has all of it.
 */
const WELCOME_MS = 60_000;
/** A router gives out the document as it was up to two seconds ago; after this it is another. */
const HELD_MS = 2_500;
/** A document that has been open for this long opened well. */
const STEADY_MS = 5_000;
/** What a frame needs beside the operation in it. */
const FRAME_HEAD_BYTES = 64;
const OPEN = 1;

export class Connection {
  readonly document = new ClientDocument();

  private readonly routers: Routers;
  private readonly events: Partial<Events>;
  /** Between sockets, and between two sendings of one operation. */
  private readonly backoff: Backoff;
  private readonly patience: Backoff;
  private readonly now: () => number;
  private readonly checks: Checks;
  private readonly times = new Times();
  private readonly people: Presences;

  private client = newClientId();
  private socket: SocketLike | null = null;
  /** Raised whenever what an older attempt still does must not count any more. */
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private heartbeat: ReturnType<typeof setInterval> | undefined;
  private resend: ReturnType<typeof setTimeout> | undefined;
  private heardAt = 0;
  private pingedAt = 0;
  /** Whether the document has been opened on the socket that is there. */
  private live = false;
  private liveSince = 0;
  private everOpened = false;
  /** Whether the attempt before this one came to nothing. */
  private failed = false;
  private tokenRefused = false;
  private leaderLost = false;
  private closedFor: string | null = null;
  /** Whom the server knows this client as, with `client` its name there. */
  private user: string | null = null;
  /** What is not on the screen any more and waits for what is unsettled. */
  private aside: (Unsaved & { reason: string }) | null = null;
  private isUnconfirmed = false;
  /**
   * What the screen shows while a message is taken in that holds a whole document. That may be
   * older than the screen, with what came since behind it: shown step by step, text would go and
   * come back, and the caret would stay where it went.
   */
  private replaced: Delta | null = null;
  /** What others did to the screen, in the message that is taken in. */
  private changes = new Branch();
  /** A check said that what is shown is not the document, which is opened again. */
  private hasDiverged = false;
  private hasTakenBack = false;
  /** Why the document is opened anew. */
  private startedOverFor: string | null = null;
  /** What has to be had elsewhere before the server can continue; what is unsent waits for it. */
  private missed: Missed | null = null;
  /** The revision shown, when a document was sent that was older than it. */
  private outdated = -1;
  private rev = 0;
  private ts = 0;
  private frameBytes = 64 << 10;
  private shown: Status | null = null;

  constructor(private readonly options: Options) {
    this.routers = new Routers(options.base, options.fetch);
    this.events = options.events;
    this.backoff = new Backoff(options.random);
    this.patience = new Backoff(options.random);
    this.now = options.now ?? (() => performance.now());
    this.checks = new Checks(this.document, this.now);
    this.people = new Presences(this.document, (frame) => this.send(frame), this.now, (people) => {
      this.events.people?.(people);
    });
  }

  get status(): Status {
    if (this.closedFor !== null) return "closed";
    if (!this.live) return this.everOpened || this.failed ? "offline" : "connecting";
    if (this.leaderLost) return "saving";
    if (this.document.inflight) return "sent";
    return this.document.hasPending ? "local" : "saved";
  }

  /** Also after it was closed, when there is a way in again: all goes on where it was. */
  open(): void {
    const again = this.closedFor !== null;
    this.closedFor = null;
    this.tokenRefused = false;
    this.backoff.reset();
    this.listen(true);
    void this.connect();
    if (again) this.tell();
  }

  /** For good. */
  close(reason = "closed"): void {
    this.closedFor ??= reason;
    this.drop();
    this.listen(false);
    this.tell();
  }

  /** The user did this, to the content as it is. */
  edit(delta: Delta): void {
    this.document.local(delta);
    this.times.made(this.now());
    this.flush();
    this.tell();
  }

  /** Where the user is on the screen, for others to see; null: nowhere to be seen. */
  say(presence: Presence | null): void {
    this.people.say(presence);
  }

  /** A newer token for the same user, before the old one expires. */
  renew(token: string): void {
    if (this.live) this.send({ type: "auth", token });
  }

  // ---- Coming and going --------------------------------------------------------------------

  private readonly online = (): void => {
    if (this.closedFor !== null || this.socket?.readyState === OPEN) return;
    this.backoff.reset();
    void this.connect();
  };

  private readonly offline = (): void => {
    if (this.closedFor === null) this.later();
  };

  /**
   * The page is looked at again, or thawed. A socket may have died meanwhile without a word, and
   * timers in the background run late: ask at once.
   */
  private readonly woken = (): void => {
    if (document.visibilityState === "hidden") return;
    if (this.socket === null) this.online();
    else if (this.live && this.pingedAt <= this.heardAt) this.ping();
  };

  private listen(on: boolean): void {
    const how = on ? "addEventListener" : "removeEventListener";
    if (typeof globalThis[how] === "function") {
      globalThis[how]("online", this.online);
      globalThis[how]("offline", this.offline);
    }
    if (typeof document !== "undefined") {
      document[how]("visibilitychange", this.woken);
      document[how]("resume", this.woken);
    }
  }

  private async connect(): Promise<void> {
    this.drop();
    const attempt = this.attempt;
    let token: string | null;
    let socket: SocketLike;
    try {
      token = await this.options.token(this.tokenRefused);
      if (attempt !== this.attempt) return;
      if (token === null) return this.refused("the access token is missing or has expired");
      if (this.missed) await this.catchUp(token, this.missed);
      if (attempt !== this.attempt) return;
      const { ticket, url } = await this.routers.ticket(token, this.options.doc);
      if (attempt !== this.attempt) return;
      socket = (this.options.webSocket ?? browserSocket)(url, [SUBPROTOCOL, `ticket.${ticket}`]);
    } catch (error) {
      if (attempt === this.attempt) this.notAdmitted(error);
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardAt = this.now();
    socket.onopen = () => {
      if (socket === this.socket) this.hello();
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.received(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.socket) this.socketClosed(code, reason);
    };
    socket.onerror = () => {};
    this.heartbeat = setInterval(() => this.beat(), 5_000);
  }

  private notAdmitted(error: unknown): void {
    if (error instanceof ApiError && error.status === 401) {
      // Once with a new token, where there is one.
      if (this.tokenRefused) return this.refused(REASONS[error.code] ?? error.message);
      this.tokenRefused = true;
      return this.later();
    }
    if (error instanceof ApiError && !error.isTransient) {
      return this.refused(REASONS[error.code] ?? error.message);
    }
    this.later();
  }

  /**
   * There is no way in, so what is not answered is not known to be lost. It stays as it is,
   * and goes on if `open` is called again.
   */
  private refused(why: string): void {
    const unsaved = merged(this.aside, this.document.unsaved(0));
    const reason = `Meanwhile, ${why}. It is kept in this tab until the document can be opened again.`;
    if (unsaved) this.tellUnconfirmed({ ...unsaved, reason });
    this.close(why);
  }

  private socketClosed(code: number, reason: string): void {
    if (code === 4432 || code === 4433) {
      this.tokenRefused = true;
      return this.later();
    }
    // From an older router: another user had a client of this name there. What is under way may
    // be applied all the same, so the name is kept.
    if (code === FOREIGN_CLIENT) return this.later();
    // A final refusal is answered, not closed for; what is closed for stays as it is.
    if (code >= 4400 && code < 4500) {
      const why = REASONS[CLOSE_CODES[code] ?? ""] ?? (reason || `the server closed with ${code}`);
      return this.refused(why);
    }
    this.later();
  }

  /** The socket is of no use any more; another one is tried after a while. */
  private later(atLeastMs = 0): void {
    this.drop();
    if (this.closedFor !== null) return;
    this.timer = setTimeout(() => void this.connect(), this.backoff.next(atLeastMs));
    this.failed = true;
    this.tell();
  }

  private drop(): void {
    this.attempt += 1;
    clearTimeout(this.timer);
    clearTimeout(this.resend);
    clearInterval(this.heartbeat);
    const socket = this.socket;
    this.socket = null;
    this.live = false;
    this.leaderLost = false;
    this.people.forget();
    this.people.tell();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
  }

  /** Gives up a socket that says nothing, and asks it first. */
  private beat(): void {
    const now = this.now();
    const quiet = now - this.heardAt;
    // Silence alone says nothing: in a tab in the background this may run once a minute.
    const unanswered = this.pingedAt > this.heardAt && now - this.pingedAt >= ANSWER_MS;
    const patience = this.socket?.readyState === OPEN ? WELCOME_MS : OPEN_MS;
    if (unanswered || (!this.live && quiet >= patience)) return this.later();
    if (!this.live) return;
    void this.check();
    if (quiet >= QUIET_MS && this.pingedAt <= this.heardAt) this.ping();
    // Not at once: a document that opens and breaks again must not be asked for in a rush.
    if (now - this.liveSince >= STEADY_MS) this.backoff.reset();
  }

  private ping(): void {
    this.pingedAt = this.now();
    this.send({ type: "ping" });
  }

  /** Says what is shown, where that is due. */
  private async check(): Promise<void> {
    const { attempt } = this;
    const check = this.live ? await this.checks.due() : null;
    if (check && this.live && attempt === this.attempt) this.send({ type: "check", ...check });
  }

  private hello(): void {
    this.routers.reached();
    const { resumeFrom: resume, isSaved } = this.document;
    this.send({ type: "hello", client: this.client, resume, unsent: !isSaved });
  }

  private send(frame: ClientFrame): void {
    if (this.socket?.readyState === OPEN) this.socket.send(encodeClient(frame));
  }

  // ---- Frames ------------------------------------------------------------------------------

  private received(data: unknown): void {
    this.heardAt = this.now();
    const socket = this.socket;
    try {
      if (!(data instanceof ArrayBuffer)) throw new Error("a message that is not binary");
      try {
        for (const frame of decodeServer(new Uint8Array(data))) {
          this.take(frame);
          if (socket !== this.socket) return;
        }
      } finally {
        this.tellChanges();
      }
    } catch (error) {
      // Whatever it was, the server's state is right and this one is not.
      console.warn("codraft: opening the document again:", error);
      this.startOver("The document here and on the server had come apart.");
    }
    this.flush();
    this.people.tell();
    this.people.flush();
    this.tell();
    void this.check();
  }

  private take(frame: ServerFrame): void {
    switch (frame.type) {
      case "welcome":
        return this.welcome(frame);
      case "who":
        return this.people.named(frame);
      case "op":
        return this.event(frame.since, frame.slot, frame.ops);
      case "event":
        if (frame.kind === "title") this.events.title?.(frame.title ?? "");
        return this.event(frame.since, frame.slot, null);
      case "skip":
        return this.event(frame.since, null, null);
      case "mark":
        return this.document.mark(frame);
      case "already":
        return this.already(frame.seq, frame.rev);
      case "reject":
        return this.rejected(frame);
      case "rebase":
        return this.rebased(frame);
      case "role":
        this.events.role?.(frame.role);
        return;
      case "resync":
        this.live = false;
        this.hasDiverged ||= frame.reason === DIVERGED;
        if (this.hasDiverged) this.document.forget();
        return this.hello();
      case "saving":
        this.leaderLost = frame.on;
        return;
      case "bye":
        return this.bye(frame.code, frame.reason, frame.retry_after_ms ?? 0);
      case "presence":
        return this.people.take(frame);
      case "here":
        return this.people.answer();
      case "pong":
        return;
    }
  }

  private welcome(welcome: Welcome): void {
    this.user ??= welcome.user;
    // What the other one sent would be applied once more for this one.
    if (welcome.user !== this.user) return this.refused("the access token is now another user's");
    this.people.welcomed(welcome, this.client);
    this.rev = welcome.rev;
    this.ts = welcome.ts;
    this.leaderLost = false;
    if (welcome.limits?.frame_bytes > 0) this.frameBytes = welcome.limits.frame_bytes;
    if (welcome.doc) {
      if (!this.opened(welcome, decodeDelta(welcome.doc))) return;
    } else if (welcome.rev > this.document.rev) {
      throw new Error("a resume from what was not received");
    }
    this.live = true;
    this.liveSince = this.now();
    if (this.everOpened) this.checks.ask();
    this.everOpened = true;
    this.failed = false;
    this.tokenRefused = false;
    if (!this.aside) this.tellUnconfirmed(null);
    const { title, kind, role, user } = welcome;
    this.events.opened?.({ title, kind, role, user });
    // With a resume it names the authors of what was missed, too, who may be gone.
    if (!welcome.resumed) {
      const others = welcome.who.filter((who) => who.slot !== this.people.slot);
      for (const who of others) this.events.here?.(who, Date.now());
    }
    // The events that were missed come next; whether the operation in flight is one of them
    // was just said. If not, it goes out again exactly as it was.
    const { inflight } = this.document;
    if (inflight && (welcome.acked?.seq ?? 0) < inflight.seq) this.transmit();
  }

  /**
   * What was missed is not known one by one, so what waits cannot be moved past it. `acked`: the
   * last own operation in `content`.
   */
  private replace(at: At, content: Delta, acked: number): void {
    const { document } = this;
    const reason = this.startedOverFor ?? "The document could not be continued where it was.";
    this.startedOverFor = null;
    this.times.forget();
    this.replaced ??= document.content;
    this.changes = new Branch();
    const open = this.hasDiverged ? "mend" : "open";
    this.hasDiverged = false;
    const unsaved = merged(this.aside, document[open](content, at, acked));
    this.aside = unsaved && { ...unsaved, reason };
    // Whether what is in flight will still be applied, only its answer says.
    if (!this.document.isSettling) this.settle(true);
    else if (this.aside) this.tellUnconfirmed(this.aside);
  }

  /**
   * The server sent the whole document. With nothing unsent it takes the place of what is shown;
   * else what is unsent is moved to it, for which what lies between may have to be had first.
   * Returns whether the document is open.
   */
  private opened({ rev, hash, acked }: Welcome, content: Delta): boolean {
    const { document } = this;
    const at = { rev, hash };
    this.tellChanges();
    // What is shown was right, and its digest is made of something else here than there.
    if (this.hasDiverged && rev === document.rev && document.isBuiltOn(content)) this.checks.giveUp();
    if (this.canCatchUp) {
      if (rev > document.rev) {
        this.missed = { to: at, content };
        this.later();
        return false;
      }
      if (rev < document.rev && this.outdated !== document.rev) {
        this.outdated = document.rev;
        this.later(HELD_MS);
        return false;
      }
      if (rev === document.rev && document.isBuiltOn(content)) {
        document.mark(at);
        return true;
      }
    }
    this.replace(at, content, acked?.seq ?? 0);
    return true;
  }

  /**
   * Whether there is unsent work that can be moved on. Not where the document has come apart, and
   * not what is settling: that is no longer on the screen.
   */
  private get canCatchUp(): boolean {
    const { isSaved, isSettling, resumeFrom } = this.document;
    return !isSaved && !isSettling && resumeFrom !== null;
  }

  /** Where there is no way, the document is opened anew. Throws what may be tried again. */
  private async catchUp(token: string, missed: Missed): Promise<void> {
    const attempt = this.attempt;
    const { document, now } = this;
    const goesOn = (): boolean => attempt === this.attempt;
    try {
      await catchUp(document, missed, {
        page: async (from, to) => {
          const page = await this.routers.ask((api) => api.events(token, this.options.doc, from, to));
          this.backoff.reset();
          this.tokenRefused = false;
          return page;
        },
        isOwn: ({ client, user, seq }) =>
          client === this.client && user === this.user && seq === document.inflight?.seq,
        change: (delta) => this.tellChange(delta),
        acked: () => this.tellSaved(),
        goesOn,
        now,
      });
      if (goesOn()) this.missed = null;
    } catch (error) {
      if (!goesOn()) return;
      const isErased = error instanceof ApiError && !error.isTransient && error.status !== 401;
      if (!isErased && !(error instanceof DivergedError)) throw error;
      console.warn("codraft: opening the document anew:", error);
      this.missed = null;
      const why = error instanceof ApiError && error.code === "erased" ? `: ${REASONS.erased}` : "";
      this.startedOverFor = `What others had written meanwhile could not be had any more${why}.`;
      document.forget();
    }
  }

  private event(since: number, slot: number | null, ops: Uint8Array | null): void {
    this.rev += 1;
    this.ts += since;
    // Since the revision resumed from: it is in here already.
    if (this.rev <= this.document.rev) return;
    const who = this.people.of(slot);
    const isOwn = slot === this.people.slot;
    const delta = ops && decodeDelta(ops);
    if (delta === null) {
      this.document.passed(this.rev);
    } else if (isOwn && this.document.inflight && !this.document.isSettling) {
      this.document.acked(this.rev);
      this.tellSaved();
    } else {
      this.changes.compose(this.document.remote(this.rev, delta));
      if (isOwn) this.settle(true);
    }
    this.people.passed(slot, delta);
    if (who && !isOwn) this.events.here?.(who, this.ts);
  }

  private already(seq: number, rev: number): void {
    if (this.document.inflight?.seq !== seq) return;
    // Its event would have come first, had this document been continued.
    if (!this.document.isSettling) return this.startOver("The document was opened anew.");
    // Else it is in what was opened, or its event comes.
    if (rev <= this.document.rev) this.settle(true);
  }

  private rejected(frame: Extract<ServerFrame, { type: "reject" }>): void {
    const { inflight } = this.document;
    if (!inflight || inflight.seq !== frame.seq || inflight.base !== frame.base) return;
    if (frame.final) {
      if (frame.code === "length_mismatch" && !this.document.isSettling && !this.hasTakenBack) {
        return this.takeBack();
      }
      const why = REASONS[frame.code] ?? (frame.message || frame.code);
      return this.giveUp(`The server refused it: ${why}.`);
    }
    // A base ahead of the server's document: what it has then is not what is shown here.
    if (frame.code === "base_ahead") return this.later(frame.retry_after_ms);
    clearTimeout(this.resend);
    const after = this.patience.next(frame.retry_after_ms ?? 0);
    this.resend = setTimeout(() => this.transmit(), after);
  }

  private rebased(frame: Extract<ServerFrame, { type: "rebase" }>): void {
    const { inflight } = this.document;
    if (!inflight || inflight.seq !== frame.seq || inflight.base !== frame.base) return;
    if (this.document.isSettling) {
      return this.giveUp("Too much had changed while this was written.");
    }
    // Still too old where the document is now: what lies between comes to who opens it again.
    if (this.document.rev < frame.floor) return this.later();
    this.document.rebase();
    this.transmit();
  }

  private bye(code: string, reason: string, retryAfterMs: number): void {
    // The close that follows says whether to come back; this says when.
    if (retryAfterMs > 0) this.later(retryAfterMs);
    else if (reason || code) console.info(`codraft: ${code} ${reason}`);
  }

  // ---- Work that is not saved --------------------------------------------------------------

  private flush(): void {
    if (!this.live || !this.document.hasPending || this.document.inflight) return;
    const sent = this.document.send(this.frameBytes - FRAME_HEAD_BYTES);
    if (!sent) return;
    this.times.sent();
    this.transmit();
  }

  /** The operation in flight: the same bytes every time, until it is rebased. */
  private transmit(): void {
    const { inflight } = this.document;
    if (!inflight || !this.live) return;
    this.send({ type: "op", seq: inflight.seq, base: inflight.base, ops: inflight.bytes });
  }

  /** What was unsettled is answered; if it was not applied, it never will be. */
  private settle(applied: boolean): void {
    const aside = this.aside;
    this.aside = null;
    this.document.settled();
    this.tellUnconfirmed(null);
    const lost = applied || !aside?.isSent ? aside?.waiting : aside.typed;
    if (aside && lost) this.events.conflict?.({ typed: lost, text: aside.text, reason: aside.reason });
  }

  /**
   * What is shown is not the server's document with the local work in it. What of that work is
   * saved is told by the next welcome, under the same name.
   */
  private startOver(reason: string): void {
    this.startedOverFor = reason;
    this.document.forget();
    this.later();
  }

  /**
   * What is in flight was not applied and never will be, so it is lost with all that was built
   * on it. Nothing under way can be taken for another's, so a new name is safe.
   */
  private giveUp(reason: string): void {
    const unsaved = merged(this.aside, this.document.unsaved(0));
    this.aside = unsaved && { ...unsaved, reason };
    this.settle(false);
    this.times.forget();
    this.document.discard();
    this.client = newClientId();
    this.people.slot = -1;
    this.later();
  }

  /** It fits what is shown, so that is not the document. Once, unless something is saved since. */
  private takeBack(): void {
    this.hasTakenBack = this.hasDiverged = true;
    this.document.takeBack();
    this.client = newClientId();
    this.people.slot = -1;
    this.later();
  }

  private tellSaved(): void {
    this.patience.reset();
    this.hasTakenBack = false;
    const took = this.times.saved(this.now());
    if (took.length > 0) this.events.saved?.(took);
  }

  /** What a message brought so far; thousands of events, where somebody was away. */
  private tellChanges(): void {
    const { replaced, changes } = this;
    [this.replaced, this.changes] = [null, new Branch()];
    const change = changes.toDelta();
    this.document.show(change);
    // While the screen shows another document, what changes in this one means nothing to it.
    this.tellChange(replaced ? difference(replaced, this.document.content) : change);
  }

  private tellChange(change: Delta): void {
    if (change.ops.length > 0) this.events.change?.(change);
  }

  private tellUnconfirmed(copy: ConflictCopy | null): void {
    if (copy === null && !this.isUnconfirmed) return;
    this.isUnconfirmed = copy !== null;
    this.events.unconfirmed?.(copy && { typed: copy.typed, text: copy.text, reason: copy.reason });
  }

  private tell(): void {
    const status = this.status;
    if (status === this.shown) return;
    this.shown = status;
    this.events.status?.(status, this.closedFor ?? "");
  }
}
