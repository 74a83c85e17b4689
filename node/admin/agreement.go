package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Agreement verifies the cluster. It is called from HTTP goroutines and takes as
// long as ctx allows; report is called with what is being done.
type Agreement interface {
	Verify(ctx context.Context, report func(step string)) (Verification, error)
}

// Verification is what does not agree among the nodes of the cluster, and what
// changed all the while, so that it could not be compared.
type Verification struct {
	Findings []Disagreement `json:"findings"`
	Unsure   []Disagreement `json:"unsure"`
}

// Disagreement is one thing that does not agree.
type Disagreement struct {
	Kind   string `json:"kind"`
	Shard  *int   `json:"shard,omitempty"`
	Node   string `json:"node,omitempty"`
	Client string `json:"client,omitempty"`
	Text   string `json:"text"`
	Line   string `json:"line"` // all of it on one line, for people
}

// VerifyEvent is a line of the answer to GET /api/v1/verify: what is being done;
// and at the end, what it came to.
type VerifyEvent struct {
	Step   string        `json:"step,omitempty"`
	Error  string        `json:"error,omitempty"`
	Result *Verification `json:"result,omitempty"`
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	to := json.NewEncoder(w)
	tell := func(e VerifyEvent) {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // where it cannot be set, the old one holds
		_ = to.Encode(e)                                           // fails only when the requester has gone
		_ = control.Flush()
	}
	result, err := s.Agreement.Verify(r.Context(), func(step string) { tell(VerifyEvent{Step: step}) })
	if err != nil {
		tell(VerifyEvent{Error: err.Error()})
		return
	}
	tell(VerifyEvent{Result: &result})
}
