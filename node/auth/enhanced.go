package auth

// Method is a way in which a client proves who it is by several packets: the enhanced
// authentication of version 5.0 (section 4.12). It is called on event loops and must
// not block.
type Method interface {
	// Name is what a client calls the method in CONNECT. It is constant.
	Name() string
	// Begin returns a new exchange, or nil while nobody can be let in by the method:
	// that is told as if it did not exist. Of a client that is connected and
	// authenticates anew r has neither a Connect nor a Certificate, but who it is.
	Begin(r Request) Exchange
}

// Exchange is the server's part of one client's authentication, as long as that is under
// way. One call is made at a time, and none after a Reply that is Done or an error.
type Exchange interface {
	// Step takes the authentication data of CONNECT, empty if it has none, then that of
	// each AUTH. They are borrowed until Step returns. It answers at once, or, having
	// returned ErrLater, by one call of later from any goroutine. ErrPass is no answer.
	Step(data []byte, later func(Reply, error)) (Reply, error)
	// User is whom the client claims to be, "" if it will not say; said is false as long
	// as it has not come to that.
	User() (name string, said bool)
}

// Reply is what the server says to a step.
type Reply struct {
	Data []byte     // for the client, which owns them from then on
	Done bool       // the client has proved to be Who; else it has to take another step
	Who  *Principal // nil: nobody
}
