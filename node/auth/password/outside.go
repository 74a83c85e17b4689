package password

import (
	"encoding/gob"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"
)

const (
	// helperPatience is longer than a hash takes, but for the costliest that Parse lets
	// pass, on a machine that has a processor left.
	helperPatience = time.Second
	helperRest     = 10 * time.Second // before another is started, or one that was late is asked again
	helperOverdue  = 6 * helperRest   // after which one is killed that is late
	helperFarewell = time.Second      // before one that does not end is killed
)

// question and answer are what a node and its helper say to each other, as a gob stream in
// each direction.
type question struct {
	ID       uint64
	Hash     string
	Password []byte
}

type answer struct {
	ID    uint64
	Right bool
}

// outside has passwords hashed by a helper: a process of its own, which the machine lets run
// when nobody else wants to. In the node's process a hash would be in the way of all
// clients: its 19 MiB would have the collector come by ten times a second in a storm, and
// no thread of a process can be told to give way to the others without all of them having
// to wait for it when the collector stops them.
//
// Who gives way may never have his turn. A helper that keeps somebody waiting is not asked
// until it has answered and some time has gone by: meanwhile the callers hash for themselves.
type outside struct {
	command  []string
	log      *slog.Logger
	patience time.Duration
	rest     time.Duration

	mu struct {
		sync.Mutex
		helper *helper   // nil: none is running
		next   time.Time // when another may be started
		closed bool
	}
}

// helper is a running one, as its node sees it.
type helper struct {
	process *os.Process
	in      *os.File
	gone    chan struct{} // closed when it has ended and is waited for

	mu struct {
		sync.Mutex
		out     *gob.Encoder
		asked   uint64
		waiting map[uint64]chan<- bool
		late    int       // of asked: those for which nobody waits any more
		missed  time.Time // when somebody had waited in vain last
	}
}

// What a helper may have done instead of answering.
var (
	errLate    = errors.New("no answer in time")
	errOverdue = errors.New("no answer at all")
)

// matches has the helper compare the password with h. Unless it could be asked, and has
// answered in time, answered is false.
func (o *outside) matches(h Hash, password []byte) (right, answered bool) {
	if o == nil {
		return false, false
	}
	x := o.hire()
	if x == nil {
		return false, false
	}
	right, answered, err := x.ask(h, password, o)
	switch {
	case err == errLate:
		o.log.Warn("the process for passwords does not get its turn: they are hashed among the clients' events", "waited", o.patience, "again", o.rest)
	case err != nil:
		// Half a question may be in its pipe.
		_ = x.process.Kill()
	}
	return right, answered
}

// hire returns the helper, which may have to be started first, or nil.
func (o *outside) hire() *helper {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.helper != nil || o.mu.closed || time.Now().Before(o.mu.next) {
		return o.mu.helper
	}
	o.mu.next = time.Now().Add(o.rest)
	x, err := o.start()
	if err != nil {
		o.log.Warn("no process for passwords: they are hashed among the clients' events", "error", err, "again", o.rest)
		return nil
	}
	o.mu.helper = x
	return x
}

func (o *outside) start() (*helper, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(o.command[0], o.command[1:]...)
	cmd.Stdin, cmd.Stderr, cmd.Env = theirs, os.Stderr, []string{}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		ours.Close()
		return nil, err
	}
	x := &helper{process: cmd.Process, in: ours, gone: make(chan struct{})}
	x.mu.out, x.mu.waiting = gob.NewEncoder(ours), make(map[uint64]chan<- bool)
	go func() {
		defer close(x.gone)
		err := x.hear(out)
		_ = x.process.Kill() // what it says cannot be understood, if it is still there
		if end := cmd.Wait(); end != nil && errors.Is(err, io.EOF) {
			err = end
		}
		o.lose(x, err)
	}()
	return x, nil
}

// lose forgets a helper that has ended.
func (o *outside) lose(x *helper, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x.end()
	o.mu.helper = nil
	if !o.mu.closed {
		o.log.Warn("the process for passwords has ended: they are hashed among the clients' events", "error", err, "again", max(0, time.Until(o.mu.next)))
	}
}

// close ends the helper.
func (o *outside) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	x := o.mu.helper
	o.mu.closed = true
	o.mu.Unlock()
	if x == nil {
		return
	}
	x.in.Close() // which it takes for the end
	kill := time.AfterFunc(helperFarewell, func() { _ = x.process.Kill() })
	defer kill.Stop()
	<-x.gone
}

// ask puts a question, if it is not too soon after one that was given up. After another error
// than errLate the helper is of no use.
func (x *helper) ask(h Hash, password []byte, o *outside) (right, answered bool, err error) {
	reply := make(chan bool, 1)
	id, err := x.put(question{Hash: h.text, Password: password}, reply, o)
	if id == 0 {
		return false, false, err
	}
	late := time.NewTimer(o.patience)
	defer late.Stop()
	select {
	case right, answered = <-reply:
		return right, answered, nil
	case <-late.C:
		x.giveUp(id)
		return false, false, errLate
	}
}

// put sends a question; 0: it was not to be asked, or could not.
func (x *helper) put(q question, reply chan<- bool, o *outside) (id uint64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.mu.missed.IsZero() {
		ago := time.Since(x.mu.missed)
		switch {
		case x.mu.late > 0 && ago > helperOverdue:
			return 0, errOverdue
		case x.mu.late > 0 || ago < o.rest:
			return 0, nil
		}
	}
	if x.mu.waiting == nil {
		return 0, nil
	}
	x.mu.asked++
	q.ID = x.mu.asked
	if err := x.in.SetWriteDeadline(time.Now().Add(o.patience)); err != nil {
		return 0, err
	}
	if err := x.mu.out.Encode(q); err != nil {
		return 0, err
	}
	x.mu.waiting[q.ID] = reply
	return q.ID, nil
}

// giveUp waits no longer for an answer, which may have come this moment.
func (x *helper) giveUp(id uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, waits := x.mu.waiting[id]; waits {
		delete(x.mu.waiting, id)
		x.mu.late++
		x.mu.missed = time.Now()
	}
}

// hear hands out the answers until there are no more.
func (x *helper) hear(out io.Reader) error {
	for in := gob.NewDecoder(out); ; {
		var a answer
		if err := in.Decode(&a); err != nil {
			return err
		}
		if err := x.told(a); err != nil {
			return err
		}
	}
}

func (x *helper) told(a answer) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	reply, waits := x.mu.waiting[a.ID]
	switch {
	case waits:
		reply <- a.Right
		delete(x.mu.waiting, a.ID)
	case x.mu.late > 0:
		x.mu.late--
	default:
		return errors.New("an answer to no question")
	}
	return nil
}

// end tells those who wait that no answer comes.
func (x *helper) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, reply := range x.mu.waiting {
		close(reply)
	}
	x.mu.waiting = nil
	x.in.Close()
}
