#!/usr/bin/env bash
# y-protocols 1.0.7, yjs 13.6.33.
#
# Expected: after `awareness.setLocalState(null)`, which is how a page says "I am gone" when it is
# hidden, the next `setLocalStateField('cursor', ...)` says "I am here" again.
# What happens: with no local state the field is dropped without a word; no event, no error, nothing
# to send. A page that comes back (from the back/forward cache, say) goes on editing, and its
# user is not there for anybody until something calls `setLocalState` with a whole state. Keep a
# copy of the state and set it whole at the return.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund y-protocols@1.0.7 yjs@13.6.33
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'

const awareness = new Awareness(new Y.Doc())
let events = 0
awareness.on('update', () => events++)

awareness.setLocalStateField('cursor', 3)
console.log('here: ', awareness.getLocalState(), `events: ${events}`)
assert.deepEqual([awareness.getLocalState(), events], [{ cursor: 3 }, 1])

awareness.setLocalState(null)
events = 0
awareness.setLocalStateField('cursor', 4)
console.log('back? ', awareness.getLocalState(), `events: ${events}`)
assert.deepEqual([awareness.getLocalState(), events], [null, 0])

awareness.setLocalState({ cursor: 4 })
console.log('whole:', awareness.getLocalState(), `events: ${events}`)
assert.deepEqual([awareness.getLocalState(), events], [{ cursor: 4 }, 1])
awareness.destroy()
END
node probe.mjs
