// Who is in this document beside the user, as the servers know it.

import type { Who } from "../src/frame.js";
import type { Person } from "../src/presence.js";

/** More have no picture of their own, and are counted. */
const PICTURES_MAX = 5;

export function nameOf(who: Who): string {
  return who.name ?? who.user;
}

/** The same in every window: it is a tab's, not a user's. */
export function colourOf(client: string): string {
  const hue = (Number.parseInt(client.slice(0, 6), 16) * 137) % 360;
  return `hsl(${hue} 65% 42%)`;
}

export class People {
  constructor(private readonly element: HTMLElement) {}

  show(people: readonly Person[]): void {
    const pictures = people.slice(0, PICTURES_MAX).map(({ who }) => {
      const picture = document.createElement("span");
      const name = nameOf(who);
      picture.className = "avatar";
      picture.textContent = [...name][0]?.toUpperCase() ?? "";
      picture.title = name;
      picture.setAttribute("aria-hidden", "true");
      picture.style.setProperty("--colour", colourOf(who.client));
      return picture;
    });
    const count = document.createElement("span");
    count.textContent = people.length === 0 ? "only you" : `${people.length + 1} people`;
    this.element.hidden = false;
    this.element.title = ["You", ...people.map(({ who }) => nameOf(who))].join(", ");
    this.element.replaceChildren(...pictures, count);
  }
}
