#!/usr/bin/env bash
# sharedb 7.0.0 (in-memory database).
#
# Expected: the middlewares "apply" and "commit" run once for each operation that is submitted, as
# "submit" and "afterWrite" do.
# What happens: when two operations race for a version, the one that loses is transformed and goes
# through "apply" and "commit" again, as often as it loses. Two operations make three calls of each;
# with a hundred writers it is many times that. A quota, an audit trail or a message that is kept
# there counts edits that happened once several times, and only under load. "afterWrite" runs once.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund sharedb@7.0.0
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import ShareDB from 'sharedb'

const backend = new ShareDB()
const calls = { submit: 0, apply: 0, commit: 0, afterWrite: 0 }
const ready = []
for (const name of Object.keys(calls)) {
  backend.use(name, ({ op }, next) => {
    if (op.op) calls[name]++
    if (name !== 'commit' || !op.op || calls.commit > 2) return next()
    // Both wait here until both have come, so that one of them loses for certain.
    ready.push(next)
    if (ready.length === 2) ready.forEach((go) => go())
  })
}

const promise = (call) =>
  new Promise((done, fail) => call((error) => (error ? fail(error) : done())))
const [one, other] = [1, 2].map(() => backend.connect().get('notes', 'a'))
await promise((done) => one.create({ list: [] }, done))
await promise((done) => other.fetch(done))
await Promise.all([
  promise((done) => one.submitOp([{ p: ['list', 0], li: 'one' }], done)),
  promise((done) => other.submitOp([{ p: ['list', 0], li: 'other' }], done)),
])

console.log('two operations:', calls)
assert.deepEqual(calls, { submit: 2, apply: 3, commit: 3, afterWrite: 2 })
backend.close()
END
node probe.mjs
