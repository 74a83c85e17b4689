// Package browser has MQTT.js, in Node and in a browser, speak with nodes over
// WebSocket. It has tests only. They need node and chromium, and what `npm ci` puts
// into testdata/node_modules; .ci/npm sees to that.
package browser
