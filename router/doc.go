// Package router says who wants a topic: it holds topics, filters and the table
// of routes from filters to subscribers, shards and nodes.
package router
