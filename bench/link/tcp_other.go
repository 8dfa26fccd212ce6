//go:build !linux

package main

import (
	"errors"
	"syscall"
)

var errNotLinux = errors.New("bench/link needs Linux")

func hasCongestion(string) error                    { return errNotLinux }
func setSegmentBytes(syscall.RawConn, int) error    { return errNotLinux }
func pace(syscall.RawConn) error                    { return errNotLinux }
func readTCP(syscall.RawConn) (v sample, err error) { return v, errNotLinux }
func becomeRealtime(uint32) error                   { return errNotLinux }
