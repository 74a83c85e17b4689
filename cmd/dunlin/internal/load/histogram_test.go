package load

import (
	"encoding/json"
	"testing"
	"time"
)

// TestHistogramTravels: what one process records, another merges.
func TestHistogramTravels(t *testing.T) {
	h, sum := NewHistogram(), NewHistogram()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	h.Record(-time.Second) // a clock that is not the sender's
	h.Record(time.Hour)
	b, err := json.Marshal(Latencies{Delivery: h})
	if err != nil {
		t.Fatal(err)
	}
	var got Latencies
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	all := Latencies{Delivery: sum}
	all.Merge(got)
	all.Merge(Latencies{Ack: got.Delivery})
	if all.Ack.Summary() != h.Summary() || all.Delivery.Summary() != h.Summary() || h.Count() != 1002 {
		t.Errorf("%+v and %+v, not %+v", all.Ack.Summary(), all.Delivery.Summary(), h.Summary())
	}
	if q := h.Quantile(0.5); q < 490*time.Millisecond || q > 510*time.Millisecond {
		t.Errorf("median %v", q)
	}
	var n, least uint64
	for d, times := range h.All() {
		if n == 0 {
			least = times
		}
		n += times
		if d > h.Quantile(1) {
			t.Errorf("%v is more than the most", d)
		}
	}
	if n != h.Count() || least != 1 {
		t.Errorf("%d of %d values, the first %d times", n, h.Count(), least)
	}
}
