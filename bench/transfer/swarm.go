package main

import (
	"net"
	"net/http"

	"shoal/tracker/server"
)

// swarm is what peers need besides each other.
type swarm struct {
	originURL, trackerURL string

	origin  *http.Server
	tracker *server.Server
}

// serveSwarm starts a title's origin and a tracker at an address. do opens their
// sockets: in the namespace of a host, where that is needed.
func serveSwarm(t *title, state, addr string, do func(func() error) error) (*swarm, error) {
	s := &swarm{origin: &http.Server{Handler: t.origin()}}
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
