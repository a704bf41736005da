//go:build !linux

package main

import "syscall"

// deaf cannot be had here: a few connections may be reset when the listener closes.
func deaf(syscall.RawConn) bool { return false }

func waiting(syscall.RawConn) uint32 { return 0 }
