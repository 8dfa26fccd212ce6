package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"shoal/bench/replay/trace"
	"shoal/bench/replay/trace/record"
	"shoal/engine"
)

const (
	// recordEvery is how often a recording looks at the node: sessions are known
	// to the second.
	recordEvery = time.Second

	// recordFlushEvery bounds what a crash loses of what was written.
	recordFlushEvery = 10 * time.Second

	// recordNames bounds how many recordings beside each other one name makes.
	recordNames = 1000
)

// recordFlag adds --record.
func recordFlag(flags *pflag.FlagSet, file *string) {
	flags.StringVar(file, "record", "", "record sessions to `FILE` (CSV) and the network beside it, for shoal replay; no addresses, salted peer names")
}

// startRecording records what the node sees until stop is called, before the
// engine closes. With an empty file it does nothing.
func startRecording(file string, e *engine.Engine, log *slog.Logger) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	t, err := openTape(file)
	if err != nil {
		return nil, err
	}
	log.Info("recording", slog.String("sessions", t.sessions.Name()), slog.String("network", t.network.Name()))
	done, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- t.run(e, log, done) }()
	return func() error {
		close(done)
		return <-stopped
	}, nil
}

// tape is a recording and its files. After openTape, run's goroutine owns it.
type tape struct {
	sessions, network *os.File
	buffers           [2]*bufio.Writer
	recorder          *record.Recorder
}

// openTape makes the files. An older recording is never touched: a node that is
// started again with the same name writes NAME-2.csv, NAME-3.csv and so on.
func openTape(file string) (*tape, error) {
	base, _ := trace.NetworkName(file) // without .csv
	ext := file[len(base):]
	if ext == ".csv.gz" {
		return nil, usagef("--record %s: recordings are not gzipped, choose a name that ends in .csv", file)
	}
	if ext == "" {
		ext = ".csv"
	}
	for i := 1; i <= recordNames; i++ {
		name := base
		if i > 1 {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		t, err := newTape(name, ext)
		if !errors.Is(err, fs.ErrExist) {
			return t, err
		}
	}
	return nil, fmt.Errorf("--record %s: there are %d recordings of that name already, move them away", file, recordNames)
}

func newTape(name, ext string) (*tape, error) {
	sessions, err := create(name + ext)
	if err != nil {
		return nil, err
	}
	network, err := create(name + "-network" + ext)
	if err != nil {
		return nil, errors.Join(err, sessions.Close(), os.Remove(sessions.Name()))
	}
	t := &tape{sessions: sessions, network: network, buffers: [2]*bufio.Writer{bufio.NewWriter(sessions), bufio.NewWriter(network)}}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	t.recorder, err = record.New(record.Config{
		Sessions: t.buffers[0], Network: t.buffers[1], NetworkName: filepath.Base(name) + "-network",
		Begin: time.Now(), Salt: salt,
	})
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// create makes a file for its owner only: who watched what is nobody else's business.
func create(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--record: %w", err)
	}
	return f, nil
}

// run looks at the node until done is closed, and then completes the files. A
// recording that fails stops, and the node goes on.
func (t *tape) run(e *engine.Engine, log *slog.Logger, done <-chan struct{}) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	flushed := time.Now()
	var failed error
	for open := true; open; {
		select {
		case <-done:
			open = false // and a last look, when the engine still runs
		case <-tick.C:
		}
		if failed != nil {
			continue
		}
		o, ok := e.Observe()
		if !ok {
			continue // the engine has closed
		}
		failed = t.recorder.Observe(observation(o))
		if now := time.Now(); failed == nil && now.Sub(flushed) >= recordFlushEvery {
			failed, flushed = t.flush(), now
		}
		if failed != nil {
			log.Error("the recording has stopped, playing goes on", slog.String("file", t.sessions.Name()), slog.Any("error", failed))
		}
	}
	if failed == nil {
		failed = t.recorder.Close(time.Now())
	}
	if lost := t.recorder.Lost(); lost > 0 {
		log.Warn("too many sessions at a time, some are not in the recording", slog.Int("lost", lost))
	}
	err := errors.Join(failed, t.close())
	if errors.Is(err, record.ErrFull) {
		return nil // logged when it happened; what there is is complete
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", t.sessions.Name(), err)
	}
	return nil
}

func (t *tape) flush() error { return errors.Join(t.buffers[0].Flush(), t.buffers[1].Flush()) }

func (t *tape) close() error {
	return errors.Join(t.flush(), t.sessions.Close(), t.network.Close())
}

// observation is what the recorder takes of what the engine gives.
func observation(o engine.Observation) record.Observation {
	out := record.Observation{
		At: o.At, Uploads: o.Uploads, LineBytesPerSec: o.LineBytesPerSec, UplinkBytesPerSec: o.UplinkBytesPerSec,
		ReceivedBytes: o.ReceivedBytes, SentBytes: o.SentBytes, NearestRTT: o.NearestRTT, CacheBytes: o.CacheBytes,
	}
	for _, t := range o.Titles {
		out.Titles = append(out.Titles, record.Title(t))
	}
	for _, v := range o.Viewers {
		out.Viewers = append(out.Viewers, record.Viewer(v))
	}
	for _, p := range o.Peers {
		out.Peers = append(out.Peers, record.Peer(p))
	}
	return out
}
