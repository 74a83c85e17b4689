// Package node joins the parts of a Dunlin node: it builds them bottom up,
// starts them and takes them down in reverse.
package node
