package load

import (
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram is a distribution of durations, from a microsecond to ten minutes with
// two significant digits; what lies outside counts as the nearest. It costs some tens of
// kilobytes, and a few nanoseconds a sample.
type Histogram struct {
	h *hdrhistogram.Histogram
}

const (
	shortest = int64(time.Microsecond)
	longest  = int64(10 * time.Minute)
)

// NewHistogram makes an empty one.
func NewHistogram() *Histogram { return &Histogram{hdrhistogram.New(shortest, longest, 2)} }

// Record adds a sample.
func (h *Histogram) Record(d time.Duration) { h.RecordTimes(d, 1) }

// RecordTimes adds a sample n times.
func (h *Histogram) RecordTimes(d time.Duration, n int64) {
	_ = h.h.RecordValues(min(max(int64(d), shortest), longest), n) // fails only outside of the bounds
}

// Merge adds the samples of another.
func (h *Histogram) Merge(o *Histogram) { h.h.Merge(o.h) }

// Reset forgets all samples.
func (h *Histogram) Reset() { h.h.Reset() }

// Count is the number of samples.
func (h *Histogram) Count() uint64 { return uint64(h.h.TotalCount()) }

// Quantile is the value that the share q, 0 to 1, of the samples do not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	return time.Duration(h.h.ValueAtQuantile(q * 100))
}

// All are the values that were recorded, from the least on, as exactly as they are
// kept, each with how often it was.
func (h *Histogram) All() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for _, bar := range h.h.Distribution() {
			if bar.Count > 0 && !yield(time.Duration(bar.To), uint64(bar.Count)) {
				return
			}
		}
	}
}

// Summary is the distribution in few numbers.
func (h *Histogram) Summary() Summary {
	if h == nil || h.Count() == 0 {
		return Summary{}
	}
	return Summary{
		Count: h.Count(), P50: h.Quantile(0.5), P95: h.Quantile(0.95), P99: h.Quantile(0.99), Max: time.Duration(h.h.Max()),
	}
}

// encoded is a Histogram in JSON: its summary for readers, and all of it in the
// compressed form that HdrHistogram's tools of all languages read.
type encoded struct {
	Summary
	Mean time.Duration `json:"mean_ns"`
	HDR  string        `json:"hdr"`
}

// MarshalJSON implements json.Marshaler.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("load: histogram: %w", err)
	}
	return json.Marshal(encoded{Summary: h.Summary(), Mean: time.Duration(h.h.Mean()), HDR: string(b)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var e encoded
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("load: histogram: %w", err)
	}
	hdr, err := hdrhistogram.Decode([]byte(e.HDR))
	if err != nil {
		return fmt.Errorf("load: histogram: %w", err)
	}
	h.h = hdr
	return nil
}
