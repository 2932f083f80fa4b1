// The few calls of the HTTP interface that the client needs.

import type { Op } from "quill-delta";

/** A call is over within this time. */
const CALL_MS = 15_000;
/** And a page of events, of which a slow line may take long. */
const PAGE_MS = 60_000;

/** What the server refused, with its code from the closed table (`proto/src/reject.rs`). */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** Whether the same request may be answered later. */
  get isTransient(): boolean {
    return this.status >= 500 || this.status === 429 || this.status === 408;
  }
}

/** An event of a document's past, as far as a client's text is concerned. */
export interface PastEvent {
  rev: number;
  kind: string;
  user: string;
  /** Null for what is no edit. */
  client: string | null;
  seq: number;
  /** Of an edit, as it was applied. */
  ops?: Op[];
}

export interface Page {
  /** In order, without a gap; fewer than were asked for where a page ends. */
  events: PastEvent[];
}

/** For one socket at one router. */
export interface Ticket {
  ticket: string;
  /** Where to open the socket; none: by the way that the ticket was asked for. */
  url: string | null;
  /** More routers that give out tickets. */
  others: string[];
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export class Api {
  /** `base`: where the router is, such as `https://docs.example`. */
  constructor(
    readonly base: string,
    private readonly fetch: Fetch = (url, init) => globalThis.fetch(url, init),
  ) {}

  async createDocument(token: string, title: string, kind: "text" | "rich"): Promise<string> {
    const created = await this.call(token, "POST", "/v1/docs", { title, kind });
    return text(created, "id");
  }

  /** Gives a document another title, which all who have it open hear of. */
  async setTitle(token: string, doc: string, title: string): Promise<void> {
    await this.call(token, "PATCH", `/v1/docs/${encodeURIComponent(doc)}`, { title });
  }

  /** `not`: the `url`s of earlier tickets at which there was nobody. */
  async ticket(token: string, doc: string, not: string[] = []): Promise<Ticket> {
    const query = not.length > 0 ? `?not=${encodeURIComponent(not.join(","))}` : "";
    const path = `/v1/collab/${encodeURIComponent(doc)}/ticket${query}`;
    const answer = await this.call(token, "POST", path);
    const { url, others } = (answer ?? {}) as { url?: unknown; others?: unknown };
    return {
      ticket: text(answer, "ticket"),
      url: isRouter(url) ? url : null,
      others: Array.isArray(others) ? others.filter(isRouter) : [],
    };
  }

  /** What happened to a document from one revision to another: at most a page, ask on behind it. */
  async events(token: string, doc: string, from: number, to: number): Promise<Page> {
    const path = `/v1/docs/${encodeURIComponent(doc)}/ops?from=${from}&to=${to}`;
    const page = await this.call(token, "GET", path, undefined, PAGE_MS);
    const { events } = (page ?? {}) as Partial<Page>;
    if (!Array.isArray(events)) throw new ApiError(502, "", "an answer without events");
    return { events };
  }

  /** The address of a document's socket. */
  socketUrl(doc: string): string {
    return `${this.base.replace(/^http/, "ws")}/v1/collab/${encodeURIComponent(doc)}`;
  }

  private async call(
    token: string,
    method: string,
    path: string,
    body?: object,
    withinMs = CALL_MS,
  ): Promise<unknown> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    if (body) headers["content-type"] = "application/json";
    const response = await this.fetch(this.base + path, {
      method,
      headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(withinMs),
    });
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) {
      const problem = (answer ?? {}) as { code?: string; detail?: string; title?: string };
      const message = problem.detail ?? problem.title ?? `HTTP ${response.status}`;
      throw new ApiError(response.status, problem.code ?? "", message);
    }
    return answer;
  }
}

/** Whether it is the origin of a router, such as `https://docs.example`. */
function isRouter(url: unknown): url is string {
  return typeof url === "string" && /^https?:\/\/[^/]+$/.test(url);
}

function text(answer: unknown, field: string): string {
  const value = (answer as Record<string, unknown> | null)?.[field];
  if (typeof value !== "string") throw new ApiError(502, "", `an answer without ${field}`);
  return value;
}
