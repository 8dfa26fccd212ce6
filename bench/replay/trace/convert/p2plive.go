package convert

import (
	"io"
	"math"
	"time"

	"shoal/bench/replay/trace"
)

// Columns of p2p-live's table of peers; those that are read come first.
const (
	livePeer = iota
	liveFirst
	liveLast
	liveSwarm
	liveCountry
	liveISP
	liveSent
	liveRequired
)

var liveColumns = []string{"peer", "first_ms", "last_ms", "swarm", "country_fips", "isp", "tx_bytes"}

// LiveBitrateKbps is what a p2p-live channel is taken to have: on the busiest
// links one chunk (median 1.285 MB) comes every 6.0 s. The source states neither.
const LiveBitrateKbps = 1713

// liveMillisMax is the end of a recorded day, with an hour for clocks that go wrong.
const liveMillisMax = 25 * 3600 * 1000

// LiveColumns are the optional columns of the sessions that P2PLive makes.
var LiveColumns = []int{trace.ColKind, trace.ColBitrate, trace.ColISP, trace.ColRegion, trace.ColLinger, trace.ColUploads}

// P2PLive reads a day of the p2p-live dataset, one row a peer, and emits a
// session for each. It returns how many rows it passed over.
func P2PLive(r io.Reader, name string, o trace.Options, emit func(trace.Session) error) (skipped int, err error) {
	rec, err := newRecords(r, name, liveColumns, liveRequired, o)
	if err != nil {
		return 0, err
	}
	err = rec.each(func() error {
		s, err := liveSession(rec)
		if err != nil {
			return err
		}
		return emit(s)
	})
	return rec.skipped, err
}

func liveSession(rec *records) (trace.Session, error) {
	first, err := rec.number(liveFirst, "first_ms", 0, liveMillisMax)
	if err != nil {
		return trace.Session{}, err
	}
	last, err := rec.number(liveLast, "last_ms", first, liveMillisMax)
	if err != nil {
		return trace.Session{}, err
	}
	sent, err := rec.number(liveSent, "tx_bytes", 0, math.MaxInt64)
	if err != nil {
		return trace.Session{}, err
	}
	for _, column := range []int{livePeer, liveSwarm} {
		if rec.text(column) == "" {
			return trace.Session{}, rec.table.Errorf(liveColumns[column], "is empty")
		}
	}
	start := time.Duration(first) * time.Millisecond
	s := trace.NewSession("peer-"+rec.text(livePeer), start, "swarm-"+rec.text(liveSwarm), time.Duration(last)*time.Millisecond-start)
	s.Kind = trace.Live
	s.BitrateKbps = LiveBitrateKbps
	s.ISP, s.Region = rec.text(liveISP), rec.text(liveCountry)
	s.Linger = 0 // the last chunk may be one that was sent: sharing is within the session
	s.Uploads = trace.UploadsYes
	if sent == 0 {
		s.Uploads = trace.UploadsNo
	}
	if err := s.Check(); err != nil {
		return trace.Session{}, rec.table.Errorf("", "%v", err)
	}
	return s, nil
}
