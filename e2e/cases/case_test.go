package cases

import (
	"fmt"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// A row is one case of section 5.
type row struct {
	number int
	words  string
	ways   []way
	on     *ground
	test   func(*testing.T, *place)
}

func (r row) name() string {
	return fmt.Sprintf("%02d_%s", r.number, strings.ReplaceAll(r.words, " ", "_"))
}

// TestCases runs the cases one after another, each on all its ways at once; with -short on
// the first and the last of them. Beside each its bystander goes on; after it no node holds
// more than at first.
func TestCases(t *testing.T) {
	ss := newSites(t)
	for _, r := range table {
		t.Run(r.name(), func(t *testing.T) {
			for k, via := range r.ways {
				if testing.Short() && k > 0 && k < len(r.ways)-1 {
					continue
				}
				t.Run(string(via), func(t *testing.T) {
					t.Parallel()
					r.run(t, ss.at(t, r.on, via))
				})
			}
		})
	}
}

// run runs the case. What it has opened is closed before the nodes are looked at.
func (r row) run(t *testing.T, s *site) {
	t.Cleanup(func() {
		if err := s.settled(patience); err != nil {
			t.Errorf("residue: %v", err)
		}
	})
	end := s.by.begin()
	defer func() {
		if err := end(); err != nil {
			t.Errorf("bystander: %v", err)
		}
	}()
	r.test(t, s.place())
}

// all is a case of several parts.
func all(parts ...func(*testing.T, *place)) func(*testing.T, *place) {
	return func(t *testing.T, p *place) {
		for _, part := range parts {
			part(t, p)
		}
	}
}
