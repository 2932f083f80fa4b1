// The few calls of the HTTP interface that the client needs.

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

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export class Api {
  /** `base`: where the router is, such as `https://docs.example`. */
  constructor(
    private readonly base: string,
    private readonly fetch: Fetch = (url, init) => globalThis.fetch(url, init),
  ) {}

  async createDocument(token: string, title: string): Promise<string> {
    const created = await this.call(token, "POST", "/v1/docs", { title, kind: "text" });
    return text(created, "id");
  }

  async ticket(token: string, doc: string): Promise<string> {
    const path = `/v1/collab/${encodeURIComponent(doc)}/ticket`;
    return text(await this.call(token, "POST", path), "ticket");
  }

  /** The address of a document's socket. */
  socketUrl(doc: string): string {
    return `${this.base.replace(/^http/, "ws")}/v1/collab/${encodeURIComponent(doc)}`;
  }

  private async call(token: string, method: string, path: string, body?: object): Promise<unknown> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    if (body) headers["content-type"] = "application/json";
    const response = await this.fetch(this.base + path, {
      method,
      headers,
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(15_000),
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

function text(answer: unknown, field: string): string {
  const value = (answer as Record<string, unknown> | null)?.[field];
  if (typeof value !== "string") throw new ApiError(502, "", `an answer without ${field}`);
  return value;
}
