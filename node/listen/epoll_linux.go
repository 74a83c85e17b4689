package listen

import (
	"net"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epolls is the backend of Linux.
type epolls struct{}

// epoll is the driver on edge-triggered epoll and non-blocking sockets, which it
// names by their descriptors. Calls that cannot block bypass the scheduler: to tell
// it of a call that takes a microsecond costs as much again, and may cost the
// processor that the loop runs on.
type epoll struct {
	fd      int
	wakeFD  int  // eventfd
	reserve int  // a descriptor to spend when there are no others (case 56); -1: spent
	lively  bool // the last wait was short
	events  [eventsPerTurn]unix.EpollEvent
}

const (
	keyWake = uint64(2) << 56

	readEvents  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	writeEvents = readEvents | unix.EPOLLOUT
)

func (epolls) processors(n int) { addProcessors(n) }

func (epolls) driver() (driver, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	e := &epoll{fd: fd, wakeFD: -1, reserve: -1}
	if e.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		e.close()
		return nil, err
	}
	// By edges each write to it is an event, and nobody need read it.
	if err := e.control(unix.EPOLL_CTL_ADD, e.wakeFD, unix.EPOLLIN|unix.EPOLLET, keyWake); err != nil {
		e.close()
		return nil, err
	}
	e.hold()
	return e, nil
}

func (e *epoll) close() {
	for _, fd := range []int{e.fd, e.wakeFD, e.reserve} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (e *epoll) wait(d time.Duration, events []event) []event {
	n := 0
	if d == 0 || e.lively {
		polled := min(d, patience)
		n = e.poll(polled)
		d -= polled // or less, if the collector has ended the wait: a turn for nothing
	}
	if n == 0 && d > 0 {
		n = e.sleep(d)
	}
	for k := range n {
		v := &e.events[k]
		key := uint64(uint32(v.Fd)) | uint64(uint32(v.Pad))<<32
		if key == keyWake {
			continue
		}
		var what uint8
		if v.Events&unix.EPOLLIN != 0 {
			what |= canRead
		}
		if v.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			what |= peerDone
		}
		if v.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			what |= canWrite
		}
		events = append(events, event{key, what})
	}
	return events
}

// patience is how long a loop to which something happens all the time waits without
// telling the scheduler. Told of each wait, at a few thousand messages a second, the
// scheduler would spend more than the loop in taking the processor away and finding
// another one. Taking one away costs most: it keeps the runtime's monitor awake, which
// then looks every 20 us for the next four milliseconds, and each look is a timer and two
// changes of context. So a loop is left alone as long as the scheduler leaves any
// goroutine alone, which is ten milliseconds: at some hundred messages a second the gaps
// between them are shorter.
const patience = 10 * time.Millisecond

// poll waits without the scheduler's knowledge. When the collector wants the loop to
// stop it sends the thread a signal, again and again, which ends the wait.
func (e *epoll) poll(d time.Duration) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd),
		uintptr(unsafe.Pointer(&e.events)), uintptr(len(e.events)), milliseconds(d), 0, 0)
	if errno != 0 {
		n = 0
	}
	e.lively = e.lively && (n > 0 || d == 0)
	return int(n)
}

// sleep waits as any goroutine does in a system call.
func (e *epoll) sleep(d time.Duration) int {
	start := time.Now()
	n, _ := unix.EpollWait(e.fd, e.events[:], int(milliseconds(d)))
	e.lively = n > 0 && time.Since(start) < patience
	return max(n, 0)
}

// milliseconds rounds up: a wait that ends early is a turn for nothing.
func milliseconds(d time.Duration) uintptr {
	return uintptr((d + time.Millisecond - 1) / time.Millisecond)
}

func (e *epoll) wake() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(e.wakeFD), uintptr(unsafe.Pointer(&one)), 8)
	runtime.KeepAlive(&one)
}

func (e *epoll) watch(sock int32, key uint64) error {
	return e.control(unix.EPOLL_CTL_ADD, int(sock), readEvents, key)
}

// watchWrite is asked for when the kernel first refuses output: most connections
// never need it, and are spared the event with which each would begin.
func (e *epoll) watchWrite(sock int32, key uint64) error {
	return e.control(unix.EPOLL_CTL_MOD, int(sock), writeEvents, key)
}

func (e *epoll) control(op, fd int, events uint32, key uint64) error {
	v := unix.EpollEvent{Events: events, Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(e.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&v)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (e *epoll) read(sock int32, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(sock),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

func (e *epoll) write(sock int32, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(sock),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// probe cannot fail but for a socket that has, of which the loop hears.
func (e *epoll) probe(sock int32, after int) {
	_ = unix.SetsockoptInt(int(sock), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, after)
	_ = unix.SetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

func (e *epoll) closeWrite(sock int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(sock), unix.SHUT_WR, 0)
}

func (e *epoll) hangUp(sock int32) { closeFD(int(sock)) }

// closeFD closes a descriptor, which takes it out of epoll too.
func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// hold takes the reserve descriptor, if there is one to take.
func (e *epoll) hold() {
	if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
		e.reserve = fd
	}
}

// shed spends the reserve descriptor to accept and close a connection, whose peer
// then knows where it stands and tries another node.
func (e *epoll) shed(fd int) bool {
	if e.reserve >= 0 {
		closeFD(e.reserve)
		e.reserve = -1
	}
	sock, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	if errno == 0 {
		closeFD(int(sock))
	}
	e.hold()
	return errno == 0
}

// epollAcceptor is a listening socket of one loop.
type epollAcceptor struct {
	fd    int
	e     *epoll
	local netip.AddrPort // of the connections; not valid: each must be asked
}

// bind gives each loop a socket of its own on the address, over which the kernel
// spreads the connections (SO_REUSEPORT).
func (epolls) bind(addr *net.TCPAddr, drivers []driver) ([]acceptor, *net.TCPAddr, error) {
	share := len(drivers) > 1
	if share && addr.Port != 0 {
		// A port is shared with every process of the same user that asks for it.
		// Only an unshared socket finds out whether the address is taken.
		probe, _, err := bindTCP(addr, false)
		if err != nil {
			return nil, nil, err
		}
		closeFD(probe)
	}
	acceptors := make([]acceptor, 0, len(drivers))
	for _, d := range drivers {
		fd, bound, err := bindTCP(addr, share)
		if err == nil {
			if err = unix.Listen(fd, maxBacklog); err != nil {
				closeFD(fd)
			}
		}
		if err != nil {
			for _, a := range acceptors {
				a.close()
			}
			return nil, nil, err
		}
		addr = bound
		a := &epollAcceptor{fd: fd, e: d.(*epoll)}
		if local := bound.AddrPort(); local.Addr().IsValid() && !local.Addr().IsUnspecified() {
			a.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
		}
		acceptors = append(acceptors, a)
	}
	return acceptors, addr, nil
}

func (a *epollAcceptor) watch(key uint64) error {
	err := a.e.control(unix.EPOLL_CTL_ADD, a.fd, unix.EPOLLIN, key)
	if err == unix.EEXIST {
		err = a.e.control(unix.EPOLL_CTL_MOD, a.fd, unix.EPOLLIN, key)
	}
	return err
}

func (a *epollAcceptor) unwatch() { _ = a.e.control(unix.EPOLL_CTL_MOD, a.fd, 0, 0) }

func (a *epollAcceptor) close() { closeFD(a.fd) }

func (a *epollAcceptor) accept() (int32, netip.AddrPort, netip.AddrPort, error) {
	var none netip.AddrPort
	for {
		var peer unix.RawSockaddrAny
		size := uint32(unix.SizeofSockaddrAny)
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(a.fd), uintptr(unsafe.Pointer(&peer)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			local := a.local
			if !local.IsValid() {
				local = socketName(int(fd))
			}
			return int32(fd), addrPort(&peer), local, nil
		case unix.EAGAIN:
			return -1, none, none, errAgain
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EMFILE, unix.ENFILE:
			if a.e.shed(a.fd) {
				return -1, none, none, errShed
			}
		}
		return -1, none, none, errno
	}
}
