package cases

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// stall is how long a bystander's message may take, at worst, while the machine itself does not
// stand still. It is generous: machines that run tests are busy. A node that one client has
// brought to a stand takes longer.
const stall = 5 * time.Second

// bystander is a well-behaved publisher and a subscriber with a session that lasts. While a
// case runs they exchange numbered messages of QoS 1, one after another: each must come,
// once, in its turn and soon, and no connection may end.
type bystander struct {
	*witness
	pub, sub *harness.Client
	machine  *harness.Stood
	sent     int
	took     []time.Duration // since begin
}

// witness is a test that goes on when something must not be: it keeps the first error and
// ends the goroutine that has met it.
type witness struct {
	testing.TB
	mu  sync.Mutex
	err error
}

func (w *witness) Helper() {}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	runtime.Goexit()
}

func (w *witness) Fatal(args ...any) { w.Fatalf("%s", fmt.Sprint(args...)) }

// do runs f in a goroutine of its own and says what was wrong, now or before.
func (w *witness) do(f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// newBystander connects them for the rest of the test.
func newBystander(t testing.TB, machine *harness.Stood, sub, pub *door, lasting bool) *bystander {
	t.Helper()
	b := &bystander{witness: &witness{TB: t}, machine: machine}
	hello := mqtt.Connect{ClientID: []byte("bystander-sub"), CleanStart: true}
	if lasting {
		hello.SessionExpiry = 3600
	}
	err := b.do(func() {
		b.sub = sub.connect(b, hello)
		b.pub = pub.connect(b, mqtt.Connect{ClientID: []byte("bystander-pub"), CleanStart: true})
		b.sub.Subscribe("bystander", 1)
		b.exchange()
	})
	if err != nil {
		t.Fatalf("bystander: %v", err)
	}
	return b
}

// exchange sends the next message and waits until it is there and acknowledged.
func (b *bystander) exchange() {
	b.sent++
	began, stood := time.Now(), b.machine.Total()
	b.pub.Publish("bystander", fmt.Sprint(b.sent), 1)
	if m := b.sub.ExpectMessage("bystander", fmt.Sprint(b.sent)); m.Dup {
		b.Fatalf("message %d was sent again", b.sent)
	}
	b.took = append(b.took, time.Since(began)-(b.machine.Total()-stood))
}

// begin has them exchange messages until end is called, which says what was wrong.
func (b *bystander) begin() (end func() error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	b.took = nil
	go func() {
		done <- b.do(func() {
			for pause := time.NewTicker(5 * time.Millisecond); ; {
				b.exchange()
				select {
				case <-stop:
					b.exchange() // all of it after the abuse
					b.sub.ExpectQuiet()
					return
				case <-pause.C:
				}
			}
		})
	}()
	return func() error {
		close(stop)
		err := <-done
		if worst := slices.Max(append(b.took, 0)); err == nil && worst > stall {
			err = fmt.Errorf("one of %d messages took %v, at most %v is allowed", len(b.took), worst, stall)
		}
		return err
	}
}
