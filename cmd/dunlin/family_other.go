//go:build unix && !linux

package main

import "syscall"

// childAttr gives a child a process group of its own, so that a terminal's
// ctrl-C reaches only dev.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
