package mqtt

// Disconnect ends a connection, either way; 3.1 and 3.1.1 know only the
// client's, without a reason.
type Disconnect struct {
	Reason           Reason
	HasSessionExpiry bool
	SessionExpiry    uint32
	ReasonString     []byte
	ServerReference  []byte
	Properties       Properties
}
