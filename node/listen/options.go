package listen

import (
	"fmt"
	"log/slog"
	"time"
)

// Options are a set of loops' settings.
type Options struct {
	Loops       int           // 0: as many as GOMAXPROCS, one per CPU; at most 256
	Portable    bool          // goroutines instead of epoll
	ReadBuffer  int           // bytes read at a time and loop; default 128 KiB
	SendTimeout time.Duration // a peer that takes nothing for so long is closed; default 30 s
	MaxUnsent   int           // bytes of output held for one connection before it is closed; default 16 MiB
	MaxHeld     int           // bytes of output and of input that is not whole held for all connections, before those are closed that hold most; each loop has its part; default no bound
	OpenTimeout time.Duration // a connection whose Layers are not ready after so long is closed; default 10 s
	MaxOpening  int           // such connections for each loop, beyond which the oldest is closed; default 4096
	Gate        Gate          // nil: everybody may come in
	Start       time.Time     // what Loop.Now counts from; default: when New is called
	Logger      *slog.Logger  // default slog.Default()
}

const (
	maxLoops      = 256 // an ID has eight bits for the loop
	minReadBuffer = 1 << 10
)

// TCP keepalive, where Loop.Probe asks for it. The kernel's long timers are coarse: those
// of many connections that came within some seconds, or fell silent together, expire at
// once, and of that many probes it drops those beyond what a queue of its own takes. So the
// first is due at a random time, and it takes many that went unanswered to end a connection.
const (
	keepAliveIdle     = 300 // seconds of silence before the first probe, at least; less than twice as many
	keepAliveInterval = 60  // seconds
	keepAliveCount    = 9   // probes
)

func (o Options) withDefaults() (Options, error) {
	if o.Loops == 0 {
		o.Loops = min(processors(), maxLoops)
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 128 << 10
	}
	if o.SendTimeout == 0 {
		o.SendTimeout = 30 * time.Second
	}
	if o.MaxUnsent == 0 {
		o.MaxUnsent = 16 << 20
	}
	if o.OpenTimeout == 0 {
		o.OpenTimeout = 10 * time.Second
	}
	if o.MaxOpening == 0 {
		o.MaxOpening = 4096
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	switch {
	case o.Loops < 0 || o.Loops > maxLoops:
		return o, fmt.Errorf("listen: %d loops, allowed are 1 to %d", o.Loops, maxLoops)
	case o.ReadBuffer < minReadBuffer:
		return o, fmt.Errorf("listen: read buffer of %d bytes, allowed are %d and more", o.ReadBuffer, minReadBuffer)
	case o.SendTimeout < 0 || o.MaxUnsent < 0 || o.MaxHeld < 0:
		return o, fmt.Errorf("listen: negative limit of output")
	case o.OpenTimeout < 0 || o.MaxOpening < 0:
		return o, fmt.Errorf("listen: negative limit of opening connections")
	}
	return o, nil
}
