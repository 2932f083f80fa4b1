// What Quill is taught to show: these formats, pictures that are in the document, and objects that
// stand for all else (`src/rich/projection.ts` says what that is).

import Quill, { Parchment } from "quill/core.js";
import Block from "quill/blots/block.js";
import Cursor from "quill/blots/cursor.js";
import Embed, { type EmbedContextRange } from "quill/blots/embed.js";
import { AlignClass } from "quill/formats/align.js";
import { BackgroundStyle } from "quill/formats/background.js";
import Blockquote from "quill/formats/blockquote.js";
import Bold from "quill/formats/bold.js";
import CodeBlock, { Code } from "quill/formats/code.js";
import { ColorStyle } from "quill/formats/color.js";
import { DirectionClass } from "quill/formats/direction.js";
import { FontClass } from "quill/formats/font.js";
import Header from "quill/formats/header.js";
import Image from "quill/formats/image.js";
import IndentClass from "quill/formats/indent.js";
import Italic from "quill/formats/italic.js";
import Link from "quill/formats/link.js";
import List from "quill/formats/list.js";
import Script from "quill/formats/script.js";
import { SizeClass } from "quill/formats/size.js";
import Strike from "quill/formats/strike.js";
import Underline from "quill/formats/underline.js";

import { OBJECT, stoodFor } from "../../src/rich/projection.js";

/** Stands for something that is kept and cannot be shown. */
class ObjectBlot extends Embed {
  static override blotName = OBJECT;
  static override className = OBJECT;
  static override tagName = "SPAN";

  static override create(value?: unknown): Node {
    const node = super.create(value) as HTMLElement;
    node.dataset["value"] = String(value);
    const name = nameOf(value);
    node.textContent = name;
    node.title = `Not shown here: ${name}`;
    return node;
  }

  static override value(node: Node): string {
    return (node as HTMLElement).dataset["value"] ?? "";
  }

  /** What was typed beside it is text, where what is beside it is what Quill knows of. */
  override update(mutations: MutationRecord[], context: Record<string, unknown>): void {
    const isThere = (blot: Parchment.Blot | null) => blot === null || blot.domNode.parentNode === this.parent.domNode;
    if (isThere(this) && isThere(this.prev) && isThere(this.next)) super.update(mutations, context);
  }
}

function nameOf(value: unknown): string {
  const insert = stoodFor(value);
  if (typeof insert === "string") return insert === "\r" ? "␍" : "U+FEFF";
  return Object.keys(insert ?? {})[0] ?? "object";
}

/**
 * Holds the format of what is typed next. Where the user deletes the text around it, Quill's own
 * would put that back, and have it typed; and of a browser's copy of it Quill would throw.
 */
class Caret extends Cursor {
  override restore(): EmbedContextRange | null {
    if (this.parent === null || (this.selection && this.domNode.isConnected)) return super.restore();
    this.remove();
    return null;
  }
}

/** Undo is ours: Quill's would bring back what was shown, not what was there. */
class NoHistory {
  clear(): void {}
  cutoff(): void {}
}

// In such a line Quill would drop formats, and objects with the first key.
CodeBlock.allowedChildren = Block.allowedChildren;

Quill.register(
  {
    "blots/cursor": Caret,
    "modules/history": NoHistory,
    "formats/align": AlignClass,
    "formats/background": BackgroundStyle,
    "formats/blockquote": Blockquote,
    "formats/bold": Bold,
    "formats/code": Code,
    "formats/code-block": CodeBlock,
    "formats/color": ColorStyle,
    "formats/direction": DirectionClass,
    "formats/font": FontClass,
    "formats/header": Header,
    "formats/image": Image,
    "formats/indent": IndentClass,
    "formats/italic": Italic,
    "formats/link": Link,
    "formats/list": List,
    [`formats/${OBJECT}`]: ObjectBlot,
    "formats/script": Script,
    "formats/size": SizeClass,
    "formats/strike": Strike,
    "formats/underline": Underline,
  },
  true,
);

export default Quill;
