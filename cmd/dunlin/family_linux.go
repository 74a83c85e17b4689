package main

import "syscall"

// childAttr gives a child a process group of its own, so that a terminal's
// ctrl-C reaches only dev, and the signal that comes when dev dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
