package router

// Filter is a valid topic filter, with its share group if it names one
// ($share/{group}/{filter}). Only ParseFilter makes one.
type Filter struct {
	group   string // "" if not shared
	pattern string // the filter itself, without the share prefix
}

// ParseFilter checks and splits b. It copies.
func ParseFilter(b []byte) (Filter, error) { panic("seam") }

// Pattern is the filter that topics are matched with.
func (f Filter) Pattern() string { return f.pattern }

// Group is the share group, "" for an ordinary filter.
func (f Filter) Group() string { return f.group }

// String is the filter as the client wrote it.
func (f Filter) String() string { panic("seam") }

// IsExact says that the pattern has no wildcard.
func (f Filter) IsExact() bool { panic("seam") }

// Matches says whether t is one of the filter's topics, $-topics excepted from
// leading wildcards [MQTT-4.7.2-1].
func (f Filter) Matches(t Topic) bool { panic("seam") }
