#!/usr/bin/env bash
# yjs 13.6.33.
#
# Expected: `ytext.applyDelta(delta, { sanitize: true })` "removes ending newlines", as its
# documentation says, and `{ sanitize: false }` leaves the delta alone.
# What happens: the flag works the other way. With `true`, which is the default, the line break at
# the end is kept; `false`, which one passes to get exactly what one gave, removes it. A document
# of Quill has to end with a line break, so that the careful caller is the one whose copy is a
# character shorter than everybody else's.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import * as Y from 'yjs'

function applied(options) {
  const text = new Y.Doc().getText('text')
  text.applyDelta([{ insert: 'line\n' }], options)
  console.log(JSON.stringify(options ?? 'default'), JSON.stringify(text.toString()))
  return text.toString()
}

assert.equal(applied(undefined), 'line\n')
assert.equal(applied({ sanitize: true }), 'line\n')
assert.equal(applied({ sanitize: false }), 'line')
END
node probe.mjs
