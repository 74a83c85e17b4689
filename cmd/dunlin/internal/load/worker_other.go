//go:build !linux

package load

import (
	"errors"
	"time"
)

// errUnsupported is Run's error on a system without epoll.
var errUnsupported = errors.New("load: needs Linux")

// worker does nothing where there is no epoll.
type worker struct{ reports chan report }

func newWorker() (*worker, error) { return nil, errUnsupported }

func (*worker) run()        {}
func (*worker) order(order) {}
func (*worker) end()        {}

func openFiles() (int, error) { return 0, errUnsupported }

func processorTime(int) (time.Duration, error) { return 0, errUnsupported }
func ownTime() time.Duration                   { return 0 }
func memory(int) (now, peak int64)             { return 0, 0 }
func program(int) string                       { return "" }
