// What MQTT.js does in the tests, in Node and in a browser alike.
'use strict'

// sizes are the payloads' lengths: each spelling of a frame's length, and more
// than a packet of TCP or a record of TLS holds.
const sizes = [0, 1, 100, 125, 126, 5000, 65535, 65536, 200000]

function payload(size) {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < size; i++) bytes[i] = (i * 7 + size) % 251
  return bytes
}

function same(a, b) {
  return a.length === b.length && a.every((v, i) => v === b[i])
}

// connect resolves to a client that is connected.
function connect(mqtt, url, options) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(url, options)
    client.once('connect', () => resolve(client))
    client.once('error', reject)
    client.once('close', () => reject(new Error('the connection was closed')))
  })
}

// exchange has a client at task.sub subscribe, and one at task.pub publish to it; it
// resolves when everything has come, in order and whole.
async function exchange(mqtt, task) {
  const name = `${task.name}-${Math.random().toString(16).slice(2)}`
  const topic = `browser/${name}`
  const options = { protocolVersion: task.version, reconnectPeriod: 0, connectTimeout: 20000, ...task.options }
  const sub = await connect(mqtt, task.sub, { ...options, clientId: `sub-${name}` })
  const pub = await connect(mqtt, task.pub, { ...options, clientId: `pub-${name}` })
  try {
    const all = new Promise((resolve, reject) => {
      let next = 0
      sub.on('message', (from, got, packet) => {
        if (from !== topic || packet.qos !== task.qos || !same(got, payload(sizes[next]))) {
          reject(new Error(`message ${next}: ${got.length} bytes with QoS ${packet.qos} on ${from}`))
        }
        if (++next === sizes.length) resolve()
      })
      for (const client of [sub, pub]) {
        client.on('error', reject)
        client.on('close', () => reject(new Error('the connection was closed')))
      }
    })
    all.catch(() => {}) // it is awaited below
    const [granted] = await sub.subscribeAsync(topic, { qos: task.qos })
    if (granted.qos !== task.qos) throw new Error(`granted QoS ${granted.qos}`)
    await Promise.all(sizes.map((size) => pub.publishAsync(topic, payload(size), { qos: task.qos })))
    await all
  } finally {
    await Promise.allSettled([sub.endAsync(), pub.endAsync()])
  }
}

// run does the tasks one after the other and tells of each what became of it: null, or
// why it failed.
async function run(mqtt, tasks) {
  const results = {}
  for (const task of tasks) {
    results[task.name] = await Promise.race([
      exchange(mqtt, task).then(() => null),
      new Promise((_, reject) => setTimeout(() => reject(new Error('took too long')), 30000)),
    ]).catch((error) => String(error && error.message || error))
  }
  return results
}

if (typeof module !== 'undefined') module.exports = run
