package lan

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrUnavailable says that this machine gives no TUN devices or namespaces; what
// wraps it says why.
var ErrUnavailable = errors.New("no TUN devices or network namespaces here")

// Names of what is made: a crashed run's leftovers are found by them.
const (
	namespace = "dun-c"
	device    = "dunc"
	most      = 16 // namespaces
	mtu       = 1400
)

// LAN is an open network.
type LAN struct {
	fabric *fabric
	tuns   []*os.File
	lock   *os.File
	reads  sync.WaitGroup
}

// Open makes a network of so many namespaces, numbered from 1, and of port 0
// outside. It waits for another process's to close.
func Open(nodes int, seed uint64) (l *LAN, err error) {
	if nodes > most {
		return nil, fmt.Errorf("lan: %d nodes, at most %d", nodes, most)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("lan: %w: not root", ErrUnavailable)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("lan: %w: no ip (Debian package iproute2)", ErrUnavailable)
	}
	l = new(LAN)
	defer func() {
		if err != nil {
			l.Close()
			l = nil
		}
	}()
	if l.lock, err = os.OpenFile(filepath.Join(os.TempDir(), "dunlin-chaos.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return l, err
	}
	if err := unix.Flock(int(l.lock.Fd()), unix.LOCK_EX); err != nil {
		return l, fmt.Errorf("lan: lock: %w", err)
	}
	sweep()
	for i := range nodes + 1 {
		if err := l.addPort(i); err != nil {
			return l, fmt.Errorf("lan: %w: %w", ErrUnavailable, err)
		}
	}
	l.fabric = newFabric(nodes+1, seed, func(to int, data []byte) {
		l.tuns[to].Write(data) // a device that takes no more drops, as a wire does
	})
	for i := range l.tuns {
		l.reads.Go(func() { l.read(i) })
	}
	return l, nil
}

// sweep removes what a crashed run has left. TUN devices went with its process.
func sweep() {
	for i := 1; i <= most; i++ {
		name := fmt.Sprint(namespace, i)
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			ip("netns", "del", name)
		}
	}
}

// addPort makes the device of port i and puts it in its place.
func (l *LAN) addPort(i int) error {
	name := fmt.Sprint(device, i)
	tun, err := openTUN(name)
	if err != nil {
		return err
	}
	l.tuns = append(l.tuns, tun)
	if i == 0 {
		return errors.Join(
			ip("addr", "add", l.Host(0)+"/24", "dev", name),
			ip("link", "set", name, "mtu", fmt.Sprint(mtu), "up"))
	}
	ns := fmt.Sprint(namespace, i)
	for _, args := range [][]string{
		{"netns", "add", ns},
		{"link", "set", name, "netns", ns},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "addr", "add", l.Host(i) + "/24", "dev", name},
		{"-n", ns, "link", "set", name, "mtu", fmt.Sprint(mtu), "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

// openTUN makes a device that gives and takes bare IP packets.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// read takes packets from port i to where they go.
func (l *LAN) read(i int) {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.tuns[i].Read(buf)
		if err != nil {
			return
		}
		if to, ok := l.port(buf[:n]); ok {
			l.fabric.forward(i, to, buf[:n])
		}
	}
}

// port is that of an IPv4 packet's destination.
func (l *LAN) port(p []byte) (to int, ok bool) {
	if len(p) < 20 || p[0]>>4 != 4 || p[16] != 10 || p[17] != 77 || p[18] != 0 {
		return 0, false
	}
	if to = int(p[19]); to == outside {
		to = 0
	}
	return to, to < len(l.tuns)
}

// outside is the last part of port 0's address.
const outside = 254

// Host is the address of a port.
func (l *LAN) Host(port int) string {
	if port == 0 {
		port = outside
	}
	return fmt.Sprint("10.77.0.", port)
}

// Within is the beginning of a command that runs in a port's namespace. The
// process it starts becomes the command's, under the same id.
func (l *LAN) Within(port int) []string {
	return []string{"ip", "netns", "exec", fmt.Sprint(namespace, port)}
}

// Set changes the rule of one direction.
func (l *LAN) Set(from, to int, r Rule) { l.fabric.set(from, to, r) }

// Rule is that of one direction.
func (l *LAN) Rule(from, to int) Rule { return l.fabric.rule(from, to) }

// Ports is how many there are, the one outside included.
func (l *LAN) Ports() int { return len(l.tuns) }

// Counts is how many packets went on and how many were dropped.
func (l *LAN) Counts() (passed, dropped uint64) { return l.fabric.counts() }

// Close removes everything. The processes in the namespaces have ended.
func (l *LAN) Close() error {
	for _, tun := range l.tuns {
		tun.Close()
	}
	l.reads.Wait()
	if l.fabric != nil {
		l.fabric.close()
	}
	var errs []error
	for i := range l.tuns {
		if i > 0 {
			errs = append(errs, ip("netns", "del", fmt.Sprint(namespace, i)))
		}
	}
	if l.lock != nil {
		l.lock.Close()
	}
	return errors.Join(errs...)
}
