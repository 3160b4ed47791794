// What a stock oRPC client can do with the service at COUNTERS_URL:
//   COUNTERS_URL=http://127.0.0.1:8094 node calls.mjs

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { ORPCError, createORPCClient, createSafeClient, isDefinedError, safe } from '@orpc/client'
import { RPCLink } from '@orpc/client/fetch'

const BASE = process.env.COUNTERS_URL
const PROJECT = `orpc-${randomUUID().slice(0, 8)}`
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

const { counter } = createORPCClient(
  new RPCLink({
    url: `${BASE}/rpc`,
    headers: ({ context }) => (context.key ? { 'idempotency-key': context.key } : {}),
  }),
)

// Every test has a counter of its own.
let names = 0
const fresh = () => `${PROJECT}:${++names}`

async function refused(promise, code, status) {
  const { error, data, isSuccess } = await safe(promise)
  assert.equal(isSuccess, false, `expected ${code}, got ${JSON.stringify(data)}`)
  assert.ok(error instanceof ORPCError, `expected ${code}, got ${error}: ${error.cause}`)
  assert.equal(error.code, code)
  assert.equal(error.status, status)
  assert.ok(error.message.length > 0)
  return error
}

async function invalid(promise, field) {
  const error = await refused(promise, 'COUNTER_VALIDATION_ERROR', 400)
  assert.deepEqual(Object.keys(error.data).sort(), ['field', 'reason'])
  assert.equal(error.data.field, field)
  assert.ok(error.data.reason.length > 0)
  assert.ok(isDefinedError(error))
}

test('create', async () => {
  const name = fresh()
  assert.deepEqual(await counter.create({ name }), { success: true, name })
  assert.deepEqual(await counter.getValue({ name }), { name, value: 0 })
  assert.equal((await counter.getMetadata({ name })).operationCount, 0)
})

test('create with a policy', async () => {
  const name = fresh()
  assert.deepEqual(await counter.create({ name, policy: { maximum: 3 } }), { success: true, name })
  assert.equal((await counter.increment({ name, amount: 5 })).value, 3)
})

test('increment creates, adds one, and says everything', async () => {
  const name = fresh()
  await counter.increment({ name })
  const result = await counter.increment({ name })
  assert.deepEqual(Object.keys(result).sort(), [
    'latestHistory', 'metadata', 'name', 'previousValue', 'timestamp', 'value',
  ])
  assert.equal(result.name, name)
  assert.equal(result.value, 2)
  assert.equal(result.previousValue, 1)
  assert.match(result.timestamp, TIME)
  assert.deepEqual(Object.keys(result.metadata).sort(), [
    'createdAt', 'id', 'name', 'operationCount', 'updatedAt', 'value',
  ])
  assert.equal(result.metadata.name, name)
  assert.equal(result.metadata.value, 2)
  assert.equal(result.metadata.operationCount, 2)
  assert.deepEqual(result.latestHistory.map(entry => entry.newValue), [2, 1])
})

test('increment by an amount, a bigint, or an undefined', async () => {
  const name = fresh()
  assert.equal((await counter.increment({ name, amount: 40 })).value, 40)
  assert.equal((await counter.increment({ name, amount: 2n })).value, 42)
  assert.equal((await counter.increment({ name, amount: undefined })).value, 43)
})

test('decrement, and not below zero', async () => {
  const name = fresh()
  await counter.increment({ name, amount: 5 })
  assert.equal((await counter.decrement({ name })).value, 4)
  const result = await counter.decrement({ name, amount: 10 })
  assert.equal(result.value, 0)
  assert.equal(result.previousValue, 4)
  assert.equal((await counter.decrement({ name })).value, 0)
  assert.equal((await counter.getValue({ name })).value, 0)
})

test('setValue', async () => {
  const name = fresh()
  const result = await counter.setValue({ name, value: 42 })
  assert.equal(result.value, 42)
  assert.equal(result.previousValue, 0)
})

test('reset', async () => {
  const name = fresh()
  await counter.increment({ name, amount: 7 })
  const result = await counter.reset({ name })
  assert.equal(result.value, 0)
  assert.equal(result.previousValue, 7)
})

test('getValue of a counter never written', async () => {
  const name = fresh()
  assert.deepEqual(await counter.getValue({ name }), { name, value: 0 })
})

test('getValues, of an array and of a Set', async () => {
  const [one, two, never] = [fresh(), fresh(), fresh()]
  await counter.setValue({ name: one, value: 1 })
  await counter.setValue({ name: two, value: 2 })
  const expected = { values: { [one]: 1, [two]: 2, [never]: 0 } }
  assert.deepEqual(await counter.getValues({ names: [one, two, never] }), expected)
  assert.deepEqual(await counter.getValues({ names: new Set([one, two, never]) }), expected)
})

test('getMetadata', async () => {
  const name = fresh()
  await counter.increment({ name, amount: 9 })
  await counter.decrement({ name })
  const metadata = await counter.getMetadata({ name })
  assert.equal(metadata.name, name)
  assert.equal(metadata.value, 8)
  assert.equal(metadata.operationCount, 2)
  assert.match(metadata.createdAt, TIME)
  assert.match(metadata.updatedAt, TIME)
  assert.ok(metadata.createdAt <= metadata.updatedAt)
  assert.ok(Number.isInteger(metadata.id))
})

test('getHistory, newest first, in pages', async () => {
  const name = fresh()
  await counter.increment({ name })
  await counter.increment({ name, amount: 10 })
  await counter.decrement({ name, amount: 4 })
  const history = await counter.getHistory({ name })
  assert.deepEqual(
    history.map(({ operation, previousValue, newValue }) => [operation, previousValue, newValue]),
    [['decrement(4)', 11, 7], ['increment(10)', 1, 11], ['increment(1)', 0, 1]],
  )
  for (const entry of history) assert.match(entry.timestamp, TIME)
  assert.equal(new Set(history.map(entry => entry.id)).size, 3)
  assert.deepEqual(await counter.getHistory({ name, limit: 2 }), history.slice(0, 2))
  assert.deepEqual(await counter.getHistory({ name, before: history[1].id }), history.slice(2))
})

test('listAll, by prefix and in pages', async () => {
  const family = fresh()
  for (const value of [1, 2, 3]) await counter.setValue({ name: `${family}.${value}`, value })
  const all = await counter.listAll({ prefix: `${family}.` })
  assert.equal(all.count, 3)
  assert.deepEqual(all.counters.map(({ name, value }) => [name, value]), [
    [`${family}.1`, 1], [`${family}.2`, 2], [`${family}.3`, 3],
  ])
  for (const one of all.counters) {
    assert.deepEqual(Object.keys(one).sort(), ['createdAt', 'createdBy', 'likes', 'name', 'updatedAt', 'value'])
  }

  const found = []
  let cursor
  do {
    const page = await counter.listAll({ prefix: `${family}.`, limit: 2, cursor })
    assert.ok(page.counters.length <= 2)
    found.push(...page.counters.map(({ name }) => name))
    cursor = page.cursor ?? undefined
  } while (cursor !== undefined)
  assert.deepEqual(found, [1, 2, 3].map(value => `${family}.${value}`))
})

test('listAll without an input', async () => {
  const name = fresh()
  await counter.create({ name })
  assert.ok(Array.isArray((await counter.listAll()).counters))
})

test('configure', async () => {
  const name = fresh()
  await counter.create({ name })
  const result = await counter.configure({ name, policy: { maximum: 5, on_limit: 'reject' } })
  assert.equal(result.success, true)
  assert.equal(result.name, name)
  assert.equal(result.policy.maximum, 5)
  assert.equal(result.policy.on_limit, 'reject')
  assert.equal((await counter.increment({ name, amount: 5 })).value, 5)
  assert.ok(isDefinedError(await refused(counter.increment({ name }), 'LIMIT_REACHED', 409)))
  assert.equal((await counter.getValue({ name })).value, 5)
})

test('delete', async () => {
  const name = fresh()
  await counter.increment({ name })
  assert.deepEqual(await counter.delete({ name }), { success: true, name })
  await refused(counter.getMetadata({ name }), 'COUNTER_NOT_FOUND', 404)
  assert.deepEqual(await counter.getValue({ name }), { name, value: 0 })
})

test('a counter that is not there', async () => {
  const name = fresh()
  for (const call of [counter.getMetadata, counter.getHistory, counter.delete]) {
    const error = await refused(call({ name }), 'COUNTER_NOT_FOUND', 404)
    assert.equal(error.data.name, name)
    assert.ok(isDefinedError(error))
  }
})

test('a value beyond what every client can hold', async () => {
  const name = fresh()
  await counter.setValue({ name, value: Number.MAX_SAFE_INTEGER })
  assert.ok(isDefinedError(await refused(counter.increment({ name }), 'OUT_OF_RANGE', 409)))
  assert.deepEqual(await counter.getValue({ name }), { name, value: Number.MAX_SAFE_INTEGER })
})

test('an invalid input says which field and why', async () => {
  const name = fresh()
  await invalid(counter.increment({ name: 'no spaces' }), 'name')
  await invalid(counter.increment({ name: 'x'.repeat(101) }), 'name')
  await invalid(counter.increment({ name: '' }), 'name')
  await invalid(counter.increment({ name: 7 }), 'name')
  await invalid(counter.increment({}), 'name')
  await invalid(counter.increment(), 'name')
  await invalid(counter.increment({ name, amount: 0 }), 'amount')
  await invalid(counter.increment({ name, amount: 1.5 }), 'amount')
  await invalid(counter.increment({ name, amount: '1' }), 'amount')
  await invalid(counter.increment({ name, amount: NaN }), 'amount')
  await invalid(counter.setValue({ name }), 'value')
  await invalid(counter.getHistory({ name, limit: 101 }), 'limit')
  await refused(counter.increment('votes'), 'COUNTER_VALIDATION_ERROR', 400)
  await refused(counter.increment([name]), 'COUNTER_VALIDATION_ERROR', 400)
  assert.equal((await counter.getValue({ name })).value, 0)
})

test('the same key twice is one increment', async () => {
  const name = fresh()
  const context = { key: randomUUID() }
  const first = await counter.increment({ name }, { context })
  const again = await counter.increment({ name }, { context })
  assert.deepEqual([again.value, again.previousValue], [1, 0])
  assert.equal(again.metadata.operationCount, first.metadata.operationCount)
  assert.equal((await counter.getValue({ name })).value, 1)
})

test('safe() and a safe client', async () => {
  const name = fresh()
  const good = await safe(counter.increment({ name }))
  assert.equal(good.isSuccess, true)
  assert.equal(good.error, null)
  assert.equal(good.data.value, 1)

  const [error, data, isDefined, isSuccess] = await safe(counter.getMetadata({ name: fresh() }))
  assert.deepEqual([error.code, data, isDefined, isSuccess], ['COUNTER_NOT_FOUND', undefined, true, false])

  const careful = createSafeClient(counter)
  assert.equal((await careful.getMetadata({ name: fresh() })).error.code, 'COUNTER_NOT_FOUND')
})

test('a procedure that is not there', async () => {
  const error = await refused(counter.nonsense({}), 'NOT_FOUND', 404)
  assert.equal(isDefinedError(error), false)
})

test('a link that reads with GET', async () => {
  // As the oRPC documentation proposes it.
  const reads = ({}, path) => (path.at(-1).match(/^(?:get|find|list|search)(?:[A-Z].*)?$/) ? 'GET' : 'POST')
  const methods = []
  const link = new RPCLink({
    url: `${BASE}/rpc`,
    method: reads,
    fetch: (request, init) => {
      methods.push(request.method)
      return fetch(request, init)
    },
  })
  const client = createORPCClient(link)
  const name = fresh()
  await client.counter.increment({ name, amount: 3 })
  assert.equal((await client.counter.getValue({ name })).value, 3)
  assert.deepEqual((await client.counter.getValues({ names: [name] })).values, { [name]: 3 })
  assert.equal((await client.counter.getMetadata({ name })).value, 3)
  assert.equal((await client.counter.getHistory({ name })).length, 1)
  assert.equal((await client.counter.listAll({ prefix: name })).count, 1)
  assert.ok(Array.isArray((await client.counter.listAll()).counters))
  await refused(client.counter.getMetadata({ name: fresh() }), 'COUNTER_NOT_FOUND', 404)
  assert.deepEqual(methods, ['POST', ...Array(7).fill('GET')])
})

test('nothing is changed by a GET', async () => {
  const client = createORPCClient(new RPCLink({ url: `${BASE}/rpc`, method: 'GET' }))
  const name = fresh()
  await refused(client.counter.increment({ name }), 'METHOD_NOT_SUPPORTED', 405)
  assert.equal((await counter.getValue({ name })).value, 0)
})

test('a hundred calls at once', async () => {
  const name = fresh()
  const results = await Promise.all(Array.from({ length: 100 }, () => counter.increment({ name })))
  assert.deepEqual(results.map(({ value }) => value).sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i + 1))
})
