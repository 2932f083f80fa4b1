#!/usr/bin/env bash
# pg 8.23.1 (node-postgres), with PostgreSQL as @electric-sql/pglite 0.5.14.
#
# Expected: a value that is given to a `jsonb` column is stored as the JSON that it is.
# What happens: objects are, but a JavaScript array is sent as an array of PostgreSQL, in braces.
# With elements in it that is no JSON and the insert fails, so that it is noticed. The empty array
# is `{}`, which is JSON: it is stored, without an error, as an empty *object*. A document's list of
# operations, comments or members comes back as `{}` if it was empty, and it is the reader that
# fails, much later. `JSON.stringify` the parameter, always.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund \
    @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17 pg@8.23.1
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import pg from 'pg'

const free = createServer().listen(0, '127.0.0.1')
await once(free, 'listening')
const { port } = free.address()
await new Promise((done) => free.close(done))

const db = await PGlite.create()
const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port })
await server.start()
const user = { user: 'postgres', database: 'postgres', password: 'postgres' }
const client = new pg.Client({ host: '127.0.0.1', port, ...user })
await client.connect()
await client.query('create table document (operations jsonb)')

/** What comes back from the column, or the message of the error. */
async function stored(value) {
  const insert = 'insert into document values ($1) returning operations'
  const result = await client.query(insert, [value]).then(
    ({ rows }) => rows[0].operations,
    (error) => error.message,
  )
  console.log(JSON.stringify(value).padEnd(22), '->', JSON.stringify(result))
  return result
}

assert.deepEqual(await stored({ list: [] }), { list: [] })
assert.equal(await stored([{ insert: 'a' }]), 'invalid input syntax for type json')
assert.deepEqual(await stored([]), {})
assert.deepEqual(await stored(JSON.stringify([])), [])

await client.end()
await server.stop()
await db.close()
END
node probe.mjs
