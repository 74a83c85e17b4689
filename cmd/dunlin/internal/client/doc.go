// Package client is the small MQTT client of the command line: one connection,
// versions 3.1, 3.1.1 and 5.0, all QoS levels, no reconnecting.
package client
