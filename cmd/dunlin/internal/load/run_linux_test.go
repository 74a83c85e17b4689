package load

import (
	"context"
	"os"
	"testing"
	"time"

	"dunlin/cmd/dunlin/internal/load/floor"
)

// TestRun drives the bare relay with every scenario for a moment: all that is
// sent comes, once.
func TestRun(t *testing.T) {
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			relay, err := floor.Listen("127.0.0.1:0", map[Spread]floor.Topology{Pairs: floor.Pairs, All: floor.Every, Share: floor.Share}[s.Spread])
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				relay.Run(ctx)
				close(ended)
			}()
			defer func() {
				cancel()
				<-ended
			}()
			r, err := Run(t.Context(), Options{
				Scenario: s, Publish: []string{relay.Addr().String()},
				Warmup: 20 * time.Millisecond, Duration: 50 * time.Millisecond, Processes: []int{os.Getpid()},
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Delivered == 0 || r.Missing != 0 || r.Late != 0 || r.CPU <= 0 || r.Own <= 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}
