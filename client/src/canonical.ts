// Operations in the form in which the server keeps and relays them, for any name of an attribute.

import Delta, { AttributeMap } from "quill-delta";

type Attributes = Record<string, unknown>;

/**
 * The same operation without what means nothing: empty inserts, retains and deletes, and `null`
 * attributes of inserts, which take away what was never there. `quill-delta` keeps all of them.
 */
export function canonical(delta: Delta): Delta {
  const out = new Delta();
  for (const op of delta.ops) {
    if (op.insert !== undefined) out.insert(op.insert, compose(undefined, op.attributes));
    else if (op.retain !== undefined) out.retain(op.retain, op.attributes);
    else out.delete(op.delete ?? 0);
  }
  return out.chop();
}

// `quill-delta` looks attributes up through the prototype and copies them by assignment, so
// those named `constructor`, `valueOf` or `__proto__` get lost. These two are its functions with
// the same results, but for every name.
Object.assign(AttributeMap, { compose, transform });

function compose(a: Attributes = {}, b: Attributes = {}, keepNull = false): Attributes | undefined {
  const kept = present(b).filter(([, value]) => keepNull || value !== null);
  return map([...kept, ...present(a).filter(([name]) => !has(b, name))]);
}

function transform(
  a: Attributes | undefined,
  b: Attributes | undefined,
  priority = false,
): Attributes | undefined {
  if (!a || !b || !priority) return b;
  return map(present(b).filter(([name]) => !has(a, name)));
}

function present(attributes: Attributes): [string, unknown][] {
  return Object.entries(attributes).filter(([, value]) => value !== undefined);
}

function has(attributes: Attributes, name: string): boolean {
  return Object.hasOwn(attributes, name) && attributes[name] !== undefined;
}

/** Not by assignment: `__proto__` is a name like any other here. */
function map(entries: [string, unknown][]): Attributes | undefined {
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}
