// How many people are in this document. This version of the protocol says who was here on
// opening and who changes something, not who leaves; so whoever was silent for a while is no
// longer counted.

const LATELY_MS = 120_000;

export class People {
  private readonly heard = new Map<string, number>();

  constructor(private readonly element: HTMLElement) {
    setInterval(() => this.show(), 10_000);
  }

  /** This client of this user was here at this time, in milliseconds since the Unix epoch. */
  here(client: string, at: number): void {
    const isNew = !this.heard.has(client);
    this.heard.set(client, Math.max(at, this.heard.get(client) ?? 0));
    if (isNew) this.show();
  }

  show(): void {
    const now = Date.now();
    for (const [client, at] of this.heard) {
      if (now - at > LATELY_MS) this.heard.delete(client);
    }
    const others = this.heard.size;
    this.element.hidden = false;
    this.element.textContent = others === 0 ? "only you" : `${others + 1} people`;
    this.element.title = "You, and whoever was seen here in the last two minutes";
  }
}
