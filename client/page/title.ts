// The document's title: shown, and changed in place by who may.

const UNTITLED = "Untitled";

export class Title {
  private title = "";

  /** `save` is asked for another title, and fails where the document keeps the one that it has. */
  constructor(
    private readonly element: HTMLElement,
    save: (title: string) => Promise<void>,
  ) {
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.show(this.title);
      if (event.key === "Enter" || event.key === "Escape") element.blur();
      if (event.key === "Enter") event.preventDefault();
    });
    element.addEventListener("blur", () => {
      const typed = (element.textContent ?? "").trim();
      const before = this.title;
      if (typed === "" || typed === (before || UNTITLED)) return this.show(before);
      // Another's may come meanwhile, and is later.
      save(typed).catch(() => this.show(this.title));
    });
  }

  /** It is this now. What is being typed stays. */
  set(title: string): void {
    this.title = title;
    document.title = `${title || UNTITLED} · Codraft`;
    if (document.activeElement !== this.element) this.show(title);
  }

  setEditable(editable: boolean): void {
    this.element.contentEditable = editable ? "plaintext-only" : "false";
  }

  private show(title: string): void {
    this.element.textContent = title || UNTITLED;
  }
}
