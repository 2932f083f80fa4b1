// Operations in the form in which the server keeps and relays them.

import Delta, { type AttributeMap } from "quill-delta";

/**
 * The same operation without what means nothing: empty inserts, retains and deletes, and `null`
 * attributes of inserts, which take away what was never there. `quill-delta` keeps all of them.
 * Throws a `TypeError` for an attribute that the server would refuse for its name.
 */
export function canonical(delta: Delta): Delta {
  const out = new Delta();
  for (const { insert, retain, delete: units, attributes } of delta.ops) {
    for (const name of Object.keys(attributes ?? {})) refuseReserved(name);
    if (insert !== undefined) out.insert(insert, withoutNull(attributes));
    else if (retain !== undefined) out.retain(retain, attributes);
    else out.delete(units ?? 0);
  }
  return out.chop();
}

/** Every object has these, so `quill-delta` takes them for set where they are not. */
function refuseReserved(name: string): void {
  if (name in Object.prototype) throw new TypeError(`an attribute cannot be named ${name}`);
}

function withoutNull(attributes: AttributeMap = {}): AttributeMap {
  const kept = Object.entries(attributes).filter(([, value]) => value != null);
  return Object.fromEntries(kept);
}
