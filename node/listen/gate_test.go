package listen

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// porter is a Gate that keeps out who comes from an address.
type porter struct {
	keepOut netip.Addr

	mu      sync.Mutex
	arrived []Info
	gone    []Info
}

func (p *porter) Arrive(info *Info) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrived = append(p.arrived, *info)
	info.Note = 7
	return info.Remote.Addr() != p.keepOut
}

func (p *porter) Depart(info *Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = append(p.gone, *info)
}

// counts are how many have arrived, and how many of them Depart has told of.
func (p *porter) counts() (arrived, gone int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.arrived), len(p.gone)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// Who the Gate keeps out is closed without a word, before any Layer and the Handler know
// of him; what it lets in is given back once, by the loop or by the Handler. Behind a proxy
// it judges the address that the proxy tells (case 49).
func TestGate(t *testing.T) {
	const header1, header2 = "PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n", "PROXY TCP4 192.0.2.2 192.0.2.9 1 2\r\n"
	relay := NewProxied([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	hello := string(cipherHello)
	for name, c := range map[string]struct {
		protocols []Protocol
		keepOut   string
		send      string
		arrives   string // the address that the Gate is shown, "" for none
		opens     bool
	}{
		"let in":                        {nil, "192.0.2.2", "", "127.0.0.1", true},
		"kept out":                      {nil, "127.0.0.1", "", "127.0.0.1", false},
		"let in, layer":                 {[]Protocol{cipher{}}, "192.0.2.2", hello, "127.0.0.1", true},
		"kept out, layer":               {[]Protocol{cipher{}}, "127.0.0.1", hello, "127.0.0.1", false},
		"let in, proxy":                 {[]Protocol{relay}, "192.0.2.2", header1, "192.0.2.1", true},
		"kept out, proxy":               {[]Protocol{relay}, "192.0.2.2", header2, "192.0.2.2", false},
		"proxy is not the client":       {[]Protocol{relay}, "127.0.0.1", header2, "192.0.2.2", true},
		"let in, proxy and layer":       {[]Protocol{relay, cipher{}}, "192.0.2.2", header1 + hello, "192.0.2.1", true},
		"kept out, proxy and layer":     {[]Protocol{relay, cipher{}}, "192.0.2.2", header2 + hello, "192.0.2.2", false},
		"bad header":                    {[]Protocol{relay, cipher{}}, "192.0.2.2", "PROXY nonsense\r\n", "", false},
		"breaks off, layer":             {[]Protocol{cipher{}}, "192.0.2.2", "hel", "127.0.0.1", false},
		"breaks off, proxy and layer":   {[]Protocol{relay, cipher{}}, "192.0.2.2", header1 + "hel", "192.0.2.1", false},
		"bad greeting, proxy and layer": {[]Protocol{relay, cipher{}}, "192.0.2.2", header1 + "hellhell", "192.0.2.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			drivers(t, func(t *testing.T, o Options) {
				for _, refuses := range []bool{false, true} {
					t.Run(fmt.Sprintf("refuses %v", refuses), func(t *testing.T) {
						gate := &porter{keepOut: netip.MustParseAddr(c.keepOut)}
						o.Gate = gate
						opened := make(chan Info, 1)
						closed := make(chan ID, 1)
						_, addr := serve(t, o, func(Loop) Handler {
							return &funcs{
								open:   func(_ ID, info Info) bool { opened <- info; return !refuses },
								closed: func(id ID, _ error) { closed <- id },
							}
						}, c.protocols...)
						conn := dial(t, addr)
						go func() {
							_, _ = io.WriteString(conn, c.send)
							if !c.opens {
								_ = conn.CloseWrite()
							}
						}()
						taken := c.opens && !refuses
						switch {
						case c.opens:
							if info := await(t, opened); info.Note != 7 || info.Remote.Addr().String() != c.arrives {
								t.Errorf("the Handler is told of %v, note %d", info.Remote, info.Note)
							}
							if taken {
								conn.Close()
								await(t, closed)
							}
						default:
							if b, _ := io.ReadAll(conn); strings.HasPrefix(string(b), string(cipherAnswer)) {
								t.Errorf("a layer has answered: %q", b)
							}
						}
						arrived, letIn := 0, 0
						if c.arrives != "" {
							arrived = 1
							if c.arrives != c.keepOut && !taken {
								letIn = 1
							}
						}
						eventually(t, "what was let in is not given back", func() bool {
							a, g := gate.counts()
							return a == arrived && g == letIn
						})
						gate.mu.Lock()
						for _, info := range append(gate.arrived, gate.gone...) {
							if info.Remote.Addr().String() != c.arrives {
								t.Errorf("the Gate is shown %v", info.Remote)
							}
						}
						gate.mu.Unlock()
					})
				}
			})
		})
	}
}
