package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// member is a process of the load as its conductor sees it, which may be this one.
type member struct {
	send func(order)
	stop func() // ends it, whatever it is doing, and waits for that

	last     report
	measured *measured
}

// hire starts the crew.
func (r *run) hire(command []string) error {
	for k := range r.layout.Processes {
		start := r.inside
		if r.layout.Processes > 1 {
			start = func(k int) (*member, error) { return r.outside(k, command) }
		}
		m, err := start(k)
		if err != nil {
			r.dismiss()
			return err
		}
		r.crew = append(r.crew, m)
	}
	return nil
}

// dismiss ends the crew.
func (r *run) dismiss() {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for _, m := range r.crew {
			m.stop()
		}
	}()
	for {
		select {
		case <-r.inbox: // nobody is kept from ending by what nobody wants to know
		case <-gone:
			return
		}
	}
}

// tellAll gives all the same order.
func (r *run) tellAll(o order) {
	for _, m := range r.crew {
		m.send(o)
	}
}

// inside has this process do the work.
func (r *run) inside(k int) (*member, error) {
	w, err := newWorker()
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(w.run)
	running.Go(func() {
		for rep := range w.reports {
			r.inbox <- letter{from: k, report: rep}
		}
	})
	return &member{send: w.order, stop: func() { w.end(); running.Wait() }}, nil
}

// farewell is how long a process may take to end when it is told nothing more.
const farewell = 5 * time.Second

// outside has a process of its own do the work.
func (r *run) outside(k int, command []string) (*member, error) {
	if len(command) == 0 {
		return nil, errors.New("load: more than one process, and no command for them")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("load: process %d of the load: %w", k+1, err)
	}
	orders := make(chan order, 64)
	var running sync.WaitGroup
	running.Go(func() {
		encode := json.NewEncoder(in)
		for o := range orders {
			if encode.Encode(o) != nil {
				break // it is gone, which its output tells
			}
		}
		in.Close()
		for range orders {
		}
	})
	running.Go(func() {
		decode := json.NewDecoder(out)
		for {
			var rep report
			if err := decode.Decode(&rep); err != nil {
				r.inbox <- letter{from: k, err: fmt.Errorf("it has ended: %w", err)}
				return
			}
			r.inbox <- letter{from: k, report: rep}
		}
	})
	return &member{
		send: func(o order) { orders <- o },
		stop: func() {
			close(orders)
			kill := time.AfterFunc(farewell, func() { cmd.Process.Kill() })
			running.Wait()
			_ = cmd.Wait() // how it ended does not matter any more
			kill.Stop()
		},
	}, nil
}

// Work is the life of a process that Options.Worker has started: it takes orders from
// in and reports to out, until in ends.
func Work(in io.Reader, out io.Writer) error {
	w, err := newWorker()
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(w.run)
	running.Go(func() {
		encode := json.NewEncoder(out)
		for rep := range w.reports {
			if encode.Encode(rep) != nil {
				break // the conductor is gone
			}
		}
		for range w.reports {
		}
	})
	decode := json.NewDecoder(in)
	for {
		var o order
		if err = decode.Decode(&o); err != nil {
			break
		}
		w.order(o)
	}
	w.end()
	running.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("load: orders: %w", err)
}
