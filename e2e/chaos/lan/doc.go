// Package lan is a network of namespaces joined by a packet switch in this
// process: each namespace has one TUN device, whose packets the switch reads,
// delays, drops, doubles or reorders by the rule from one port to another, and
// writes on. Port 0 is a device outside all namespaces, by which this process
// reaches the others.
//
// It exists where TUN devices and network namespaces may be made: on Linux, as
// root. Only one can be open on a machine at a time; a lock on a file sees to it.
package lan
