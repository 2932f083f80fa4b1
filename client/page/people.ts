// Who writes in this document. Joining is not announced by this version of the protocol, so
// the count is of those whose changes arrived lately, and oneself.

const LATELY_MS = 120_000;

export class People {
  private readonly heard = new Map<string, number>();

  constructor(private readonly element: HTMLElement) {
    setInterval(() => this.show(), 10_000);
  }

  /** A change of this client, made at this time by the server's clock. */
  wrote(client: string, at: number): void {
    const isNew = !this.heard.has(client);
    this.heard.set(client, at);
    if (isNew) this.show();
  }

  show(): void {
    const now = Date.now();
    for (const [client, at] of this.heard) {
      if (now - at > LATELY_MS) this.heard.delete(client);
    }
    const others = this.heard.size;
    this.element.hidden = false;
    this.element.textContent = others === 0 ? "only you" : `${others + 1} people writing`;
    this.element.title = "You, and whoever changed something in the last two minutes";
  }
}
