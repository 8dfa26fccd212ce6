package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// maxDialAddrs of one dial are tried; a peer announces no more.
	maxDialAddrs = maxAddrs

	// dialStagger between attempts (RFC 8305 §5).
	dialStagger = 250 * time.Millisecond
)

type dialResult struct {
	conn *quic.Conn
	addr netip.AddrPort
	err  error
}

// Dial opens a session. It gives up when ctx does, or every address has failed;
// each has 5 seconds.
func (e *Endpoint) Dial(ctx context.Context, dc DialConfig) (*Session, error) {
	if len(dc.Addrs) == 0 {
		return nil, errors.New("dial: no address")
	}
	if dc.ALPN == "" {
		return nil, errors.New("dial: no ALPN")
	}
	if !e.begin() {
		return nil, ErrClosed
	}
	defer e.wg.Done()
	conn, err := e.race(ctx, dc)
	if err == nil {
		handshake, done := withTimeout(ctx)
		defer done()
		var s *Session
		if s, err = e.establish(handshake, conn, true); err == nil {
			return s, nil
		}
		err = fmt.Errorf("dial %s: %w", conn.RemoteAddr(), err)
	}
	select {
	case <-e.closing:
		return nil, ErrClosed
	default:
		return nil, err
	}
}

// race makes attempts one after another, each a little later, and returns the
// first connection. It waits for the attempts that it gives up.
func (e *Endpoint) race(ctx context.Context, dc DialConfig) (*quic.Conn, error) {
	addrs := dc.Addrs[:min(len(dc.Addrs), maxDialAddrs)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialResult, len(addrs))
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	var errs []error
	pending := 0
	for len(addrs) > 0 || pending > 0 {
		next := stagger.C
		if len(addrs) == 0 {
			next = nil
		}
		select {
		case <-next:
			go func(addr netip.AddrPort) { results <- e.attempt(ctx, addr, dc) }(addrs[0])
			addrs = addrs[1:]
			pending++
			stagger.Reset(dialStagger)
		case r := <-results:
			pending--
			if r.err == nil {
				cancel()
				for ; pending > 0; pending-- {
					if late := <-results; late.err == nil {
						_ = late.conn.CloseWithError(codeRefused, "another path was faster")
					}
				}
				return r.conn, nil
			}
			errs = append(errs, fmt.Errorf("dial %s: %w", r.addr, r.err))
			stagger.Reset(0)
		}
	}
	return nil, errors.Join(errs...)
}

func (e *Endpoint) attempt(ctx context.Context, addr netip.AddrPort, dc DialConfig) dialResult {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	addr = unmapped(addr)
	r := dialResult{addr: addr}
	if !addr.IsValid() || addr.Port() == 0 {
		r.err = errors.New("not a valid address")
		return r
	}
	r.conn, r.err = e.transport.Dial(ctx, newVirtualAddr(addr), clientTLS(e.cfg.Identity, dc), e.quicConfig(false))
	return r
}
