package transport

import (
	"errors"

	"golang.org/x/sys/windows"
)

var errAddrInUse error = windows.WSAEADDRINUSE

// isTruncated: Windows reports a datagram that did not fit as an error.
func isTruncated(err error) bool { return errors.Is(err, windows.WSAEMSGSIZE) }
