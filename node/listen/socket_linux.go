package listen

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bindTCP makes a bound socket. What it sets, the connections it accepts inherit:
// that spares them the calls.
func bindTCP(addr *net.TCPAddr, share bool) (int, *net.TCPAddr, error) {
	ip := addr.AddrPort().Addr().Unmap()
	any := addr.IP == nil
	family := unix.AF_INET
	if any || ip.Is6() {
		family = unix.AF_INET6
	}
	const kind = unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(family, kind, 0)
	if err != nil && any {
		family = unix.AF_INET // a kernel without IPv6
		fd, err = unix.Socket(family, kind, 0)
	}
	if err != nil {
		return -1, nil, os.NewSyscallError("socket", err)
	}
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		// What it accepts has these too, without use before SO_KEEPALIVE is set: see probe.
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
	}
	if family == unix.AF_INET6 {
		only := 1
		if any || ip.IsUnspecified() {
			only = 0 // all addresses of both families, as in package net
		}
		options = append(options, struct{ level, name, value int }{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only})
	}
	if share {
		options = append(options, struct{ level, name, value int }{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			closeFD(fd)
			return -1, nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(family, ip, addr)); err != nil {
		closeFD(fd)
		return -1, nil, os.NewSyscallError("bind", err)
	}
	bound := *addr
	bound.Port = int(socketName(fd).Port())
	return fd, &bound, nil
}

func sockaddr(family int, ip netip.Addr, addr *net.TCPAddr) unix.Sockaddr {
	if family == unix.AF_INET {
		sa := &unix.SockaddrInet4{Port: addr.Port}
		if ip.IsValid() {
			sa.Addr = ip.As4()
		}
		return sa
	}
	sa := &unix.SockaddrInet6{Port: addr.Port}
	if ip.IsValid() {
		sa.Addr = ip.As16()
		sa.ZoneId = zoneIndex(ip.Zone())
	}
	return sa
}

// zoneIndex is the number of the interface of that name, or that is that number.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// socketName is the local address of a socket.
func socketName(fd int) netip.AddrPort {
	var name unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, _ = unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	return addrPort(&name)
}

func addrPort(a *unix.RawSockaddrAny) netip.AddrPort {
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), hostOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		ip := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(strconv.FormatUint(uint64(in.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, hostOrder(in.Port))
	}
	return netip.AddrPort{}
}

// hostOrder is a port as it lies in a socket address, in network order.
func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
