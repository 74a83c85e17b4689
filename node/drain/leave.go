package drain

import (
	"context"
	"math/rand/v2"
	"time"
)

// Leave has clients go, at a pace: in random order, so that those of one kind do not go
// together, and some at a time, as many as chance says, so that nodes that are left together
// do not beat in time. send is given the numbers of some, and says whether to go on. Leave
// returns when all were sent, send has had enough, or ctx is done.
func Leave(ctx context.Context, clients []uint64, p *Pace, send func(some []uint64) bool) {
	rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	for len(clients) > 0 {
		n := min(1+rand.IntN(p.Most()), len(clients))
		for !p.Take(n, time.Now()) {
			if !Sleep(ctx, p.Wait(n, time.Now())) {
				return
			}
		}
		if ctx.Err() != nil || !send(clients[:n]) {
			return
		}
		clients = clients[n:]
	}
}

// Sleep waits for d, and says whether ctx has let it.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
