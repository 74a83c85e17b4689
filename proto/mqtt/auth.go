package mqtt

// Auth is a step of enhanced authentication (5.0 only).
type Auth struct {
	Reason       Reason // Success, ContinueAuthentication, ReAuthenticate
	Method       []byte
	Data         []byte
	ReasonString []byte
	Properties   Properties
}
