// Package load drives a broker with many connections from one thread and says
// what that cost the broker: deliveries counted one by one, checked for loss,
// repetition and order by a number in each payload, beside the processor time
// that the broker's processes used meanwhile.
//
// The generator must not be what is measured. It keeps to few system calls: one
// epoll loop, up to Scenario.Batch messages a write, acknowledgements of all that
// one read brought in one write.
package load
