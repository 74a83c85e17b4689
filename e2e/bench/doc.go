// Package bench measures what a delivered message costs Dunlin, beside the bare
// relay of the same bytes (the floor) and Debian's mosquitto, all in one run and
// each in processes of its own. It has one benchmark, which prints a table; see
// make bench. Multiples of the floor are what travels from machine to machine:
// the targets are given as such (DESIGN section 7).
package bench
