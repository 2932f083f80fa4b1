// Where others are in a rich document. It is drawn over the text, which is Quill's alone.

import type Delta from "quill-delta";
import type Quill from "quill/core.js";
import { Range } from "quill/core/selection.js";

import type { Person } from "../../src/presence.js";
import { colourOf, nameOf } from "../people.js";

/** A selection of more lines than are on a screen is not drawn further. */
const RECTANGLES_MAX = 200;

export class Carets {
  private readonly layer = document.createElement("div");
  private people: readonly Person[] = [];
  private frame: number | undefined;

  constructor(private readonly quill: Quill) {
    this.layer.className = "others";
    this.layer.setAttribute("aria-hidden", "true");
    quill.container.append(this.layer);
    quill.root.addEventListener("scroll", () => this.redraw(), { passive: true });
    new ResizeObserver(() => this.redraw()).observe(quill.root);
  }

  show(people: readonly Person[]): void {
    this.people = people;
    this.redraw();
  }

  /** What is shown was changed: between two tellings they move with the text. */
  move(change: Delta): void {
    if (this.people.length === 0) return;
    const moved = (at: number): number => change.transformPosition(at, true);
    this.people = this.people.map((person) => ({
      ...person,
      cursor: person.cursor === null ? null : moved(person.cursor),
      selection: person.selection && {
        anchor: moved(person.selection.anchor),
        head: moved(person.selection.head),
      },
    }));
    this.redraw();
  }

  /** Once a frame, however much happens in it. */
  private redraw(): void {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  private draw(): void {
    const last = this.quill.getLength() - 1;
    // Nobody else keeps a client from naming a place that is not there.
    const within = (at: number): number => Math.max(0, Math.min(at, last));
    const drawn: HTMLElement[] = [];
    const [layer, container] = [this.layer, this.quill.container].map((one) => one.getBoundingClientRect()) as [DOMRect, DOMRect];
    const [x, y] = [container.left - layer.left, container.top - layer.top];
    for (const { who, cursor, selection } of this.people) {
      const colour = colourOf(who.client);
      if (selection) {
        const [from, to] = [within(selection.anchor), within(selection.head)].sort((a, b) => a - b) as [number, number];
        drawn.push(...this.rectangles(from, to).map((place) => box("selected", colour, place)));
      }
      const at = selection?.head ?? cursor;
      const place = at === null ? null : this.quill.getBounds(within(at));
      if (!place) continue;
      const caret = box("caret", colour, { left: place.left + x, top: place.top + y, width: 0, height: place.height });
      caret.dataset["name"] = nameOf(who);
      drawn.push(caret);
    }
    this.layer.replaceChildren(...drawn);
  }

  /** Of each line that a selection is on, in the layer's coordinates. */
  private rectangles(from: number, to: number): Place[] {
    const native = this.quill.selection.rangeToNative(new Range(from, to - from));
    const [start, startAt, end, endAt] = native;
    if (!start || !end || from === to) return [];
    const range = document.createRange();
    range.setStart(start, startAt ?? 0);
    range.setEnd(end, endAt ?? 0);
    const around = this.layer.getBoundingClientRect();
    return [...range.getClientRects()].slice(0, RECTANGLES_MAX).map(({ left, top, width, height }) => ({
      left: left - around.left,
      top: top - around.top,
      width,
      height,
    }));
  }
}

interface Place {
  left: number;
  top: number;
  width: number;
  height: number;
}

function box(name: string, colour: string, place: Place): HTMLElement {
  const element = document.createElement("span");
  element.className = name;
  element.style.setProperty("--colour", colour);
  for (const [side, value] of Object.entries(place)) element.style.setProperty(side, `${value}px`);
  return element;
}
