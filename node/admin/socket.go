package admin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// SocketName is the unix socket's file in the data directory.
const SocketName = "admin.sock"

// maxSocketPath is what fits into a socket address on every system.
const maxSocketPath = 100

// Dial connects to the node whose data directory is dataDir.
func Dial(ctx context.Context, dataDir string) (net.Conn, error) {
	path, done, err := socketPath(dataDir)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// listenUnix binds the socket. A file that a dead node left behind is replaced;
// a living one's is an error.
func listenUnix(dataDir string) (net.Listener, error) {
	path, done, err := socketPath(dataDir)
	if err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		done()
		return nil, fmt.Errorf("data directory %s: another node is running in it", dataDir)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		done()
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		done()
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		done()
		return nil, err
	}
	return &unixListener{l, done}, nil
}

// unixListener keeps what its path needs until it is closed.
type unixListener struct {
	net.Listener
	done func()
}

func (l *unixListener) Close() error {
	err := l.Listener.Close()
	l.done()
	return err
}

type socketUserKey struct{}

// withSocketUser notes who has connected to the socket.
func withSocketUser(ctx context.Context, c net.Conn) context.Context {
	if uid, ok := uidOf(c); ok {
		return context.WithValue(ctx, socketUserKey{}, uid)
	}
	return ctx
}

// socketUser is who asks by the socket.
func socketUser(ctx context.Context) string {
	if uid, ok := ctx.Value(socketUserKey{}).(uint32); ok {
		return fmt.Sprint("uid ", uid)
	}
	return "admin.sock"
}

// socketPath is a path to the socket that fits into a socket address: where the
// plain one is too long, one by way of an open descriptor of the directory, which
// done closes.
func socketPath(dataDir string) (path string, done func(), err error) {
	path = filepath.Join(dataDir, SocketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(dataDir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName), func() { dir.Close() }, nil
}
