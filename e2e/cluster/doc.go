// Package cluster tests what several nodes promise together, each test from a
// bug that another project had. It has tests only.
package cluster
