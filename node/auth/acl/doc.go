// Package acl says which topics a client may publish to, subscribe to and receive.
//
// A Policy is an ordered list of rules; the first that speaks of what is asked
// decides, and where none does the policy's default. A rule speaks of a topic by a
// filter, in which ${clientid}, ${username} and ${cert} stand for who asks. What
// stands for them is compared as it is, within one level: a name with a wildcard, a
// slash, or a $ in front can widen nothing (case 39). A rule that allows says
// nothing to such a name, one that denies takes it for any.
//
// Rules say "topic"; subscriptions ask with filters. A filter is allowed if all
// that it matches is, and where rules only cut into it, it is refused: who may
// receive a/+ without a/secret must subscribe to less (case 40). Filters with a
// leading wildcard do not match topics with a leading $, in rules too
// [MQTT-4.7.2-1].
//
// Two Policies make one, in order (Then): of a node's own file, and of the whole cluster.
//
// A client may bring rules of its own along, in a token: they are asked first, and where
// they are silent, the Policy is.
//
// A Policy is immutable and safe for concurrent use, and all clients share one: of a
// client nothing is kept. To ask costs no allocation and a look at each rule that
// concerns the client, by name or by all.
package acl
