#!/usr/bin/env bash
# jose 6.2.18.
#
# Expected: a token that is signed with a key `createRemoteJWKSet` has not seen makes it fetch the
# set again, so that keys can be added and used at once.
# What happens: it fetches again only if the last fetch is 30 s ago (`cooldownDuration`). A server
# that has just started, or has just met another new key, refuses valid tokens until then, with
# ERR_JWKS_NO_MATCHING_KEY and without having asked. Clients that take the 401 for a verdict log
# their users out. Publish a key half a minute before it signs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund jose@6.2.18
cat >probe.mjs <<'END'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'

const published = []
let fetches = 0
const server = createServer((_, response) => {
  fetches++
  response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: published }))
}).listen(0, '127.0.0.1')
await once(server, 'listening')

/** Publishes a new key and returns a token that it signed. */
async function tokenOfNewKey(kid) {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  published.push({ ...(await exportJWK(publicKey)), kid, alg: 'ES256' })
  return new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey)
}

const keys = createRemoteJWKSet(new URL(`http://127.0.0.1:${server.address().port}/`))
const verdict = async (token) => jwtVerify(token, keys).then(() => 'ok', ({ code }) => code)

const first = await verdict(await tokenOfNewKey('first'))
const token = await tokenOfNewKey('second')
const second = await verdict(token)
console.log(`first key: ${first}, second key: ${second}, fetches: ${fetches}`)
assert.deepEqual([first, second, fetches], ['ok', 'ERR_JWKS_NO_MATCHING_KEY', 1])

await keys.reload()
const reloaded = await verdict(token)
console.log(`second key after reload(): ${reloaded}, fetches: ${fetches}`)
assert.deepEqual([reloaded, fetches], ['ok', 2])
server.close()
server.closeAllConnections()
END
node probe.mjs
