// Package listen owns sockets: it accepts connections and moves their bytes
// between the kernel and a Handler on event loops.
package listen
