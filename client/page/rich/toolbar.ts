// The formats of a rich document, as buttons. A button is pressed where the selection has its
// format; what kind a line is, is one choice.

import type Quill from "quill/core.js";

interface Button {
  label: string;
  sign: string;
  format: string;
  value: string | true;
}

const OF_TEXT: Button[] = [
  { label: "Bold", sign: "B", format: "bold", value: true },
  { label: "Italic", sign: "I", format: "italic", value: true },
  { label: "Underline", sign: "U", format: "underline", value: true },
  { label: "Strike through", sign: "S", format: "strike", value: true },
  { label: "Code", sign: "<>", format: "code", value: true },
];

const OF_LISTS: Button[] = [
  { label: "List", sign: "•", format: "list", value: "bullet" },
  { label: "Numbered list", sign: "1.", format: "list", value: "ordered" },
  { label: "Tasks", sign: "☑", format: "list", value: "unchecked" },
];

/** By the name of a choice: format and value. */
const LINES: [string, string, unknown][] = [
  ["Text", "", null],
  ["Heading 1", "header", 1],
  ["Heading 2", "header", 2],
  ["Heading 3", "header", 3],
  ["Quote", "blockquote", true],
  ["Code block", "code-block", true],
];

export class Toolbar {
  readonly element = document.createElement("div");
  private readonly line = document.createElement("select");
  private readonly pressed: { button: HTMLButtonElement; format: string; value: string | true }[] = [];

  constructor(
    private readonly quill: Quill,
    history: { undo(): void; redo(): void },
  ) {
    this.element.className = "toolbar";
    this.element.setAttribute("role", "toolbar");
    this.element.setAttribute("aria-label", "Formatting");
    this.line.setAttribute("aria-label", "Kind of line");
    this.line.append(...LINES.map(([name], i) => new Option(name, String(i))));
    this.line.addEventListener("change", () => this.makeLine(LINES[this.line.selectedIndex]));
    const link = this.button("Link", "Link", () => this.link());
    this.element.append(
      this.line,
      this.group(...OF_TEXT.map((of) => this.toggle(of)), link),
      this.group(...OF_LISTS.map((of) => this.toggle(of))),
      this.group(
        this.button("Less indent", "⇤", () => quill.format("indent", "-1", "user")),
        this.button("More indent", "⇥", () => quill.format("indent", "+1", "user")),
        this.button("Without formats", "⌫", () => this.clear()),
      ),
      this.group(
        this.button("Undo", "↶", () => history.undo()),
        this.button("Redo", "↷", () => history.redo()),
      ),
    );
    this.pressed.push({ button: link, format: "link", value: true });
    quill.on("editor-change", () => this.update());
    this.enable(false);
  }

  enable(enabled: boolean): void {
    for (const control of this.element.querySelectorAll<HTMLButtonElement | HTMLSelectElement>("button, select")) {
      control.disabled = !enabled;
    }
  }

  private update(): void {
    if (!this.quill.hasFocus()) return;
    const range = this.quill.selection.lastRange;
    const formats = range ? this.quill.getFormat(range) : {};
    for (const { button, format, value } of this.pressed) {
      const has = formats[format];
      const isOn = value === true ? Boolean(has) : has === value || (value === "unchecked" && has === "checked");
      button.setAttribute("aria-pressed", String(isOn));
    }
    const kind = LINES.findIndex(([, format, value]) => format !== "" && formats[format] === value);
    this.line.selectedIndex = Math.max(0, kind);
  }

  private toggle({ label, sign, format, value }: Button): HTMLButtonElement {
    const button = this.button(label, sign, () => {
      const isOn = button.getAttribute("aria-pressed") === "true";
      this.quill.format(format, isOn ? false : value, "user");
    });
    button.dataset["format"] = format;
    this.pressed.push({ button, format, value });
    return button;
  }

  private button(label: string, sign: string, press: () => void): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.title = label;
    button.textContent = sign;
    // The selection stays in the text.
    button.addEventListener("mousedown", (event) => event.preventDefault());
    button.addEventListener("click", () => {
      press();
      this.update();
    });
    return button;
  }

  private group(...buttons: HTMLButtonElement[]): HTMLElement {
    const group = document.createElement("span");
    group.className = "group";
    group.append(...buttons);
    return group;
  }

  private makeLine(kind: (typeof LINES)[number] | undefined): void {
    const [, format, value] = kind ?? ["", "", null];
    if (format !== "") this.quill.format(format, value, "user");
    else for (const name of ["header", "blockquote", "code-block", "list"]) this.quill.format(name, false, "user");
  }

  private link(): void {
    const range = this.quill.getSelection(true);
    const before = this.quill.getFormat(range)["link"];
    const typed = prompt("Address of the link; empty for none", typeof before === "string" ? before : "https://");
    if (typed === null) return;
    const address = typed.trim();
    const named = /^[a-z]+:/.test(address) ? address : `https://${address}`;
    this.quill.setSelection(range, "silent");
    this.quill.format("link", address === "" ? false : named, "user");
  }

  private clear(): void {
    const range = this.quill.getSelection(true);
    if (range.length > 0) this.quill.removeFormat(range.index, range.length, "user");
  }
}
