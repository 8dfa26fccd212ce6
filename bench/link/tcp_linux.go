package main

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasCongestion returns nil if the kernel has a congestion control, or can load
// it, which it does by itself when it is asked for and can be found.
func hasCongestion(name string) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
		return fmt.Errorf("this kernel has no congestion control %s (%w): try modprobe tcp_%s, or take a kernel with it; "+
			"sysctl net.ipv4.tcp_available_congestion_control lists what there is", name, err, name)
	}
	return nil
}

func setSegmentBytes(raw syscall.RawConn, bytes int) (err error) {
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, bytes)
	})
	return errors.Join(controlErr, err)
}

// pace has the kernel spread a flow's packets, as it does where the queue discipline
// is fq. A rate asked for turns that on; this one is no limit.
func pace(raw syscall.RawConn) (err error) {
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, math.MaxInt32)
	})
	return errors.Join(controlErr, err)
}

func readTCP(raw syscall.RawConn) (v sample, err error) {
	var info *unix.TCPInfo
	controlErr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return v, err
	}
	return sample{
		UsefulBytes: int64(info.Bytes_acked),
		SentBytes:   int64(info.Bytes_sent),
		AgainBytes:  int64(info.Bytes_retrans),
		WindowBytes: int(info.Snd_cwnd) * int(info.Snd_mss),
		RTTMillis:   float64(info.Rtt) / 1000,
	}, nil
}
