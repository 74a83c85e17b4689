// Package cluster connects the nodes: who is a member, what each routes, and
// the streams that carry publishes between them.
package cluster
