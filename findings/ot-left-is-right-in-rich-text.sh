#!/usr/bin/env bash
# ot-text 1.0.2, ot-text-unicode 4.0.0, ot-json0 1.1.0, rich-text 4.1.0 (on quill-delta 5.1.0).
#
# Expected: ShareDB calls every type in the same way, so two people who type at the same place get
# the same order whatever type the document has; "left" is who was first, and stands on the left.
# What happens: in the text types, and in strings and lists of json0, the edit that the server took
# first comes out in front. In rich-text it comes out behind: `transform(a, b, 'left')` lets `b`
# keep the place. Each type is consistent in itself, but a client or a test that takes the order of
# one of them for granted has it the wrong way round for the other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund \
    ot-json0@1.1.0 ot-text@1.0.2 ot-text-unicode@4.0.0 quill-delta@5.1.0 rich-text@4.1.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import json0 from 'ot-json0'
import text from 'ot-text'
import unicode from 'ot-text-unicode'
import Delta from 'quill-delta'
import rich from 'rich-text'

/** What `snapshot()` becomes by `first`, and `second` that was made beside it and arrived later. */
function both({ type }, snapshot, first, second) {
  const after = (...operations) => operations.reduce(type.apply, snapshot())
  const result = after(first, type.transform(second, first, 'right'))
  const other = after(second, type.transform(first, second, 'left'))
  assert.deepEqual(other, result, 'both ways come to the same')
  return result
}
const insert = (word) => new Delta().insert(word)

const results = {
  'text': both(text, String, ['A'], ['B']),
  'text-unicode': both(unicode, String, ['A'], ['B']),
  'json0 string': both(json0, () => [''], [{ p: [0, 0], si: 'A' }], [{ p: [0, 0], si: 'B' }])[0],
  'json0 list': both(json0, () => [], [{ p: [0], li: 'A' }], [{ p: [0], li: 'B' }]).join(''),
  'rich-text': both(rich, () => new Delta(), insert('A'), insert('B')).ops[0].insert,
}
console.log('A is taken first, B second:', results)
const { 'rich-text': last, ...others } = results
assert.deepEqual(Object.values(others), ['AB', 'AB', 'AB', 'AB'])
assert.equal(last, 'BA')
END
node probe.mjs
