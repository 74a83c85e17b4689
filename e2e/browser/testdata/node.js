// Reads tasks as JSON from standard input, does them, and writes what became of them.
'use strict'

const mqtt = require('mqtt')
const run = require('./exchange.js')

async function main() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const results = await run(mqtt, JSON.parse(Buffer.concat(chunks).toString()))
  process.stdout.write(JSON.stringify(results), () => process.exit(0))
}

main()
