// Which router to ask, and where the sockets of the document meet. Any router answers for any
// document; a ticket names the one for the socket. Where that one is not there, or the one that is
// asked, another is, of those that answers have named: a router that has the token already is
// believed about the others, which get it too.

import { Api, ApiError, type Fetch } from "./api.js";

/** Routers that are remembered, beside the one that was given. */
const KNOWN_MAX = 8;
/** Routers that are asked in turn before it is given up for this time. */
const TRIES = 3;
/** Routers that a ticket is asked to leave out; the interface takes as many. */
const NOT_MAX = 8;

export class Routers {
  private known: string[] = [];
  /** The one that answered last, or is the next one's turn. */
  private current: string;
  /** Where the last ticket was for, until a socket is open there. */
  private sentTo: string | null = null;
  /** Named by tickets, and no socket could be opened there. */
  private unreached: string[] = [];

  constructor(
    private readonly base: string,
    private readonly fetch?: Fetch,
  ) {
    this.current = base;
  }

  /** A ticket, and the address of the socket that it is for. */
  async ticket(token: string, doc: string): Promise<{ ticket: string; url: string }> {
    const missed = this.sentTo;
    this.sentTo = null;
    if (missed !== null) this.unreached = latest([...this.unreached, missed], NOT_MAX);
    const { ticket, url, others } = await this.ask((api) => api.ticket(token, doc, this.unreached));
    this.sentTo = url;
    const named = [...others, ...(url === null ? [] : [url])].filter((router) => router !== this.base);
    this.known = latest([...this.known, ...named], KNOWN_MAX);
    return { ticket, url: new Api(url ?? this.current).socketUrl(doc) };
  }

  /** A socket is open where the last ticket sent it. */
  reached(): void {
    this.sentTo = null;
    this.unreached = [];
  }

  /** Asks the router that answered last, and where nobody answers another one. */
  async ask<T>(call: (api: Api) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await call(new Api(this.current, this.fetch));
      } catch (error) {
        if (!isAway(error)) throw error;
        const all = [this.base, ...this.known];
        this.current = all[(all.indexOf(this.current) + 1) % all.length] ?? this.base;
        if (tries >= Math.min(TRIES, all.length)) throw error;
      }
    }
  }
}

/** Whether nobody was there, or is on the way out: another router may be. */
function isAway(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true;
  return error.status === 502 || error.status === 504 || error.code === "shutting_down";
}

/** Each once, where it came last. */
function latest(all: string[], most: number): string[] {
  return all.filter((one, i) => all.lastIndexOf(one) === i).slice(-most);
}
