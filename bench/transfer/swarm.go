package main

import (
	"net"
	"net/http"
	"sync/atomic"

	"shoal/tracker/server"
)

// swarm is what peers need besides each other.
type swarm struct {
	originURL, trackerURL string

	origin  *http.Server
	tracker *server.Server
	dry     atomic.Bool // the origin has no media any more
}

// serveSwarm starts a title's origin and a tracker at an address. do opens their
// sockets: in the namespace of a host, where that is needed.
func serveSwarm(t *title, state, addr string, do func(func() error) error) (*swarm, error) {
	s := &swarm{}
	files := t.origin()
	s.origin = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.dry.Load() && r.URL.Path == "/"+mediaPath {
			http.Error(w, "only peers have it now", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, r)
	})}
	err := do(func() error {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			return err
		}
		s.originURL = "http://" + l.Addr().String()
		go func() { _ = s.origin.Serve(l) }() // ends with close
		s.tracker, err = server.Start(server.Config{Listen: net.JoinHostPort(addr, "0"), StateDir: state})
		return err
	})
	if err != nil {
		_ = s.origin.Close()
		return nil, err
	}
	s.trackerURL = s.tracker.URL().String()
	return s, nil
}

func (s *swarm) close() {
	_ = s.tracker.Close()
	_ = s.origin.Close()
}
