package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"shoal/bench/emulator"
)

// receiveTCP listens, and discards what comes.
func (e *end) receiveTCP() (part, error) {
	l, err := net.Listen("tcp", e.Own.String())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ *sampler) error {
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		c, err := l.Accept()
		if err != nil {
			return ctx.Err()
		}
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		_, err = io.Copy(io.Discard, c)
		if ctx.Err() == nil && err != nil {
			return err
		}
		return ctx.Err()
	}, nil
}

// sendTCP connects with a congestion control of the kernel's, sends without
// end, and reads what the kernel counts (tcp(7), TCP_INFO).
func (e *end) sendTCP(control string) part {
	return func(ctx context.Context, s *sampler) error {
		if err := e.awaitStart(ctx, s); err != nil {
			return err
		}
		setControl := emulator.Congestion(control)
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(e.Own), Control: func(network, address string, raw syscall.RawConn) error {
			err := setControl(network, address, raw)
			if err == nil && e.SegmentBytes > 0 {
				err = setSegmentBytes(raw, e.SegmentBytes)
			}
			if err == nil && e.Paced {
				err = pace(raw)
			}
			return err
		}}
		conn, err := d.DialContext(ctx, "tcp", e.Peer.String())
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		c := conn.(*net.TCPConn)
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var writing sync.WaitGroup
		writing.Go(func() {
			block := make([]byte, 64<<10)
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		})
		err = watchTCP(ctx, raw, s)
		// What is still buffered is of no interest.
		err = errors.Join(err, c.SetLinger(0), c.Close())
		writing.Wait()
		return err
	}
}

func watchTCP(ctx context.Context, raw syscall.RawConn, s *sampler) error {
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for {
		v, err := readTCP(raw)
		if err != nil {
			return err
		}
		s.add(time.Now(), v)
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}
