package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"shoal/bench/replay"
	"shoal/bench/replay/trace"
	"shoal/testdata"
)

// defaultTrace is played when no sessions are given.
const defaultTrace = "vod-evening.csv"

// replayInput is what a replay is played on.
type replayInput struct {
	sessions []replay.Session
	matrix   *trace.Matrix
	skipped  int
}

// load reads everything that the flags name.
func (f *replayFlags) load(cmd *cobra.Command) (*replayInput, error) {
	options := trace.Options{SkipBad: f.skipBad, Notice: func(text string) {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), text)
	}}
	in := new(replayInput)
	profile, err := trace.OpenProfile(f.profile)
	if err != nil {
		return nil, usageError{err}
	}
	sayBorrowed(cmd, profile)
	var networks *trace.Networks
	if f.network != "" {
		if networks, err = trace.OpenNetworks(f.network, options); err != nil {
			return nil, usageError{err}
		}
		in.skipped += networks.Skipped()
	}
	if f.rtt != "" {
		if in.matrix, err = readMatrix(f.rtt, options); err != nil {
			return nil, usageError{err}
		}
		in.skipped += in.matrix.Skipped()
	}
	file, name, err := f.openSessions()
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = file.Close() }()
	rows := trace.ReadSessions(file, name, options)
	unmet := 0
	for n := uint64(0); f.maxSessions == 0 || len(in.sessions) < f.maxSessions; n++ {
		if cmd.Context().Err() != nil {
			return nil, errors.New("interrupted while reading " + name + ": nothing was played")
		}
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, usageError{err}
		}
		if row.Start < time.Duration(f.from) || row.Start >= time.Duration(f.to) {
			continue
		}
		if len(in.sessions) == replay.SessionsMax {
			return nil, usagef("%s has more than %d sessions: choose some with --max-sessions", name, replay.SessionsMax)
		}
		// By row: the same rows are drawn the same way, whatever is chosen of them.
		s, err := f.resolve(profile, networks, in.matrix, row, n)
		if err != nil {
			return nil, usageError{fmt.Errorf("%s: session %s: %w", name, row.ID, err)}
		}
		if s.Network != "" && networks == nil {
			unmet++
		}
		in.sessions = append(in.sessions, s)
	}
	if unmet > 0 {
		options.Notice(fmt.Sprintf("%s: %d sessions name a network trace, and keep constant lines: name the folder with --network", name, unmet))
	}
	in.skipped += rows.Skipped()
	return in, nil
}

func (f *replayFlags) openSessions() (io.ReadCloser, string, error) {
	if f.sessions != "" {
		file, err := trace.Open(f.sessions)
		return file, f.sessions, err
	}
	file, err := testdata.Traces().Open(defaultTrace)
	return file, defaultTrace, err
}

func readMatrix(path string, o trace.Options) (*trace.Matrix, error) {
	file, err := trace.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return trace.ReadMatrix(file, path, o)
}

// resolve fills in what a row does not say.
func (f *replayFlags) resolve(p *trace.Profile, networks *trace.Networks, m *trace.Matrix, row trace.Session, n uint64) (replay.Session, error) {
	rng := rand.New(rand.NewPCG(f.seed, n))
	s := replay.Session{Session: p.Draw(rng, row), Adapts: f.ladder != nil && row.Track == "" && row.BitrateKbps < 0}
	crash, place, gets, which := rng.Float64(), rng.Float64(), rng.Float64(), rng.Float64()
	s.Crash = crash < f.crashShare
	if s.Network == "" && networks != nil && gets < f.networkShare {
		names := networks.Names()
		s.Network = names[int(which*float64(len(names)))]
	}
	if s.Network != "" && networks != nil {
		net, ok := networks.Lookup(s.Network)
		if !ok {
			return s, fmt.Errorf("no network trace %q in %s", s.Network, f.network)
		}
		s.Net = net
	}
	if m != nil {
		s.Place = int(place * float64(m.Len()))
		for _, label := range []string{s.ISP, s.Region, s.Country()} {
			if i, ok := m.Place(label); ok && label != "" {
				s.Place = i
				break
			}
		}
	}
	return s, nil
}

// check refuses what has nothing to replay.
func (in *replayInput) check() error {
	if len(in.sessions) == 0 {
		return replay.ErrNoSessions
	}
	if !replay.Overlap(in.sessions) {
		return errors.New("no two sessions of a title overlap: there is nobody to share with")
	}
	return nil
}

// checkLadder refuses a ladder that nobody would climb.
func (f *replayFlags) checkLadder(in *replayInput) error {
	adapts := func(s replay.Session) bool { return s.Adapts }
	if f.ladder != nil && !slices.ContainsFunc(in.sessions, adapts) {
		return errors.New("--ladder: every session has its track or bitrate from the trace, which counts; drop the columns track and bitrate_kbps to let players adapt")
	}
	return nil
}

// watched is how many seconds of viewing the sessions are.
func (in *replayInput) watched() (sum float64) {
	for i := range in.sessions {
		sum += in.sessions[i].Watch.Seconds()
	}
	return sum
}
