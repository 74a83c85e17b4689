package load

import (
	"fmt"
	"net/netip"
	"strings"
)

// share is the clients of one process: those from First up to but without Last.
type share struct {
	Subs span `json:"subs"`
	Pubs span `json:"pubs"`
}

type span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

func (s span) len() int { return s.To - s.From }

func (s share) len() int { return s.Subs.len() + s.Pubs.len() }

// spare are the descriptors of a process that are no connections: standard streams,
// epoll, timers, and those of the runtime; and in the parent two for each process.
const spare = 64

// part is the k'th of n nearly equal parts of count clients.
func part(count, k, n int) span { return span{count * k / n, count * (k + 1) / n} }

// shares are the clients of n processes. Publishers of p2p are beside their
// subscribers, which lets them see what arrives; the subscribers of a share group are
// all in one process, which sees what comes twice.
func (c Config) shares(n int) []share {
	all := make([]share, n)
	for k := range all {
		if c.Verb != ShareSub {
			all[k] = share{Subs: part(c.Subscribers, k, n), Pubs: part(c.Publishers, k, n)}
			continue
		}
		all[k].Pubs = part(c.Publishers, k, n)
		if n > 1 { // the first process has the subscribers, the others the publishers
			all[k].Pubs = part(c.Publishers, max(k-1, 0), n-1)
		}
		if k == 0 {
			all[k].Subs = span{0, c.Subscribers}
			if n > 1 {
				all[k].Pubs = span{}
			}
		}
	}
	return all
}

// total is the number of connections.
func (c Config) total() int { return c.Subscribers + c.Publishers }

// maxProcesses bounds the processes of a run.
const maxProcesses = 512

// Layout spreads the run over processes that may have so many open files each. It
// fails if no number of processes, or not the number that is set, can hold it.
func (c Config) Layout(files int) (Layout, error) {
	room := files - spare
	fullest := func(n int) (most int) {
		for _, s := range c.shares(n) {
			most = max(most, s.len())
		}
		return most
	}
	n := max(c.Processes, 1)
	if c.Processes == 0 {
		for n <= maxProcesses && fullest(n) > room {
			n++
		}
	}
	if n > maxProcesses || fullest(n) > room {
		return Layout{}, fmt.Errorf("load: %d connections do not fit into %d processes with %d open files each", c.total(), min(n, maxProcesses), files)
	}
	l := Layout{Processes: n, Connections: fullest(n), Total: c.total()}
	l.Files = l.Connections + spare
	l.PerSource = l.Total
	l.Sources = len(c.Sources)
	if l.Sources == 0 && l.Total > PerSource && c.loopback() {
		l.Sources = (l.Total + PerSource - 1) / PerSource
	}
	if l.Sources > 0 {
		l.PerSource = (l.Total + l.Sources - 1) / l.Sources
	}
	return l, nil
}

// loopback says whether all brokers are on 127.0.0.0/8, where every address is ours
// to connect from.
func (c Config) loopback() bool {
	for _, b := range append(c.Brokers[:len(c.Brokers):len(c.Brokers)], c.PublishTo...) {
		ap, err := netip.ParseAddrPort(b)
		if err != nil || !ap.Addr().Is4() || !ap.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// loopbackSources are n addresses from 127.0.1.1 on, without the ends of each 256.
func loopbackSources(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = netip.AddrFrom4([4]byte{127, 0, byte(1 + i/254), byte(1 + i%254)}).String()
	}
	return out
}

// ParseSources reads addresses and ranges of them: 127.0.1.1-127.0.1.60,127.0.3.1.
func ParseSources(s string) (out []string, err error) {
	const most = 1 << 16
	for _, word := range strings.Split(s, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(word), "-")
		if !ranged {
			high = low
		}
		from, err := netip.ParseAddr(low)
		if err != nil {
			return nil, fmt.Errorf("load: source %q: want an address or a range of them, such as 127.0.1.1-127.0.1.60", word)
		}
		to, err := netip.ParseAddr(high)
		if err != nil || to.Less(from) || to.BitLen() != from.BitLen() {
			return nil, fmt.Errorf("load: source %q: want an address or a range of them, such as 127.0.1.1-127.0.1.60", word)
		}
		for a := from; !to.Less(a); a = a.Next() {
			if len(out) == most {
				return nil, fmt.Errorf("load: sources %q are more than %d", s, most)
			}
			out = append(out, a.String())
		}
	}
	return out, nil
}
