package transport

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/quic-go/quic-go"
)

var errTooBusy = errors.New("too many handshakes or sessions")

type releaseKey struct{}

// admit bounds the incoming handshakes in progress. quic-go calls it for each.
func (e *Endpoint) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	e.mu.RLock()
	full := e.closed || len(e.byIndex) >= e.cfg.MaxSessions
	e.mu.RUnlock()
	if full || e.counters.handshakes.Add(1) > maxHandshakes {
		if !full {
			e.counters.handshakes.Add(-1)
		}
		e.counters.refused.Add(1)
		return nil, errTooBusy
	}
	release := sync.OnceFunc(func() { e.counters.handshakes.Add(-1) })
	// The context ends with the connection, or when its handshake fails.
	context.AfterFunc(ctx, release)
	return context.WithValue(ctx, releaseKey{}, release), nil
}

// acceptLoop is a goroutine of the endpoint. Connections that it hands on are
// handshakes still, and so as many as admit lets in.
func (e *Endpoint) acceptLoop(ctx context.Context) {
	defer e.wg.Done()
	for {
		conn, err := e.listener.Accept(ctx)
		if err != nil {
			return // closed: listeners have no other error
		}
		if !e.begin() {
			_ = conn.CloseWithError(codeRefused, "endpoint closed")
			return
		}
		go e.welcome(ctx, conn)
	}
}

func (e *Endpoint) welcome(ctx context.Context, conn *quic.Conn) {
	defer e.wg.Done()
	if release, ok := conn.Context().Value(releaseKey{}).(func()); ok {
		defer release()
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	s, err := e.establish(ctx, conn, false)
	if err != nil {
		e.log.Debug("incoming session failed", slog.String("from", conn.RemoteAddr().String()), slog.String("error", err.Error()))
		return
	}
	select {
	case e.accepted <- s:
	default:
		e.counters.refused.Add(1)
		s.Close("too many sessions at once")
	}
}

// Accept returns the next incoming session.
func (e *Endpoint) Accept(ctx context.Context) (*Session, error) {
	select {
	case s := <-e.accepted:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.closing:
		return nil, ErrClosed
	}
}
