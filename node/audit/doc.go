// Package audit writes down who changed what of the cluster or of who may use it, and who was
// refused: one structured line for each.
//
// A change always has its line. Those who are refused may come as fast as packets do, so
// each kind of refusal has a budget of lines; what is beyond it is counted, and the number
// stands in the next line of the kind, or in one of its own. Lines are written by a
// goroutine of the log: event loops call Refused, which never waits. What a client has
// said is cut, and quoted if it holds anything but printable characters (case 55). Nothing
// secret is ever given to this package.
package audit
