package limit

// Refusal is why a client is not let in. Which answer it is given is the broker's to know.
type Refusal uint8

// The refusals, and what they bound.
const (
	Admitted       Refusal = iota
	NodeFull               // connections of the node
	ListenerFull           // of a listener
	AddressFull            // of an address
	UserFull               // of a user
	TooFast                // connects to the node
	AddressTooFast         // from an address
	UserTooFast            // of a user
	BackOff                // logins of a user from an address, after some that failed
	AddressBackOff         // logins from an address, after many that failed
	Banned                 // by an operator
	Flapping               // for a while, by its client's own doing
	Pressed                // the node is short of something
	refusals
)

// Refusals is the number of values of Refusal.
const Refusals = int(refusals)

// String is the refusal's name in metrics.
func (r Refusal) String() string {
	return [...]string{
		"none", "connections", "listener_connections", "address_connections", "user_connections",
		"connect_rate", "address_connect_rate", "user_connect_rate",
		"failed_logins", "address_failed_logins", "banned", "flapping", "pressure",
	}[r]
}
