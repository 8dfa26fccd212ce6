package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"shoal/bench/emulator"
)

// reportPatience is how long after the run's end the reports may take.
const reportPatience = 10 * time.Second

// measure runs a scenario once.
func measure(ctx context.Context, s *scenario) (*result, error) {
	if err := errors.Join(ctx.Err(), possible(s)); err != nil {
		return nil, err
	}
	w := &watcher{flows: len(s.Flows)}
	there, back := s.lines()
	there.Observe = w.observe
	link, err := emulator.NewBottleneck(s.Seed, there, back)
	if err != nil {
		return nil, err
	}
	begin := readProcessorTime()
	ends, err := play(ctx, s, link)
	var stats emulator.Stats
	if err == nil {
		stats, err = link.Stats()
	}
	if err = errors.Join(err, link.Close()); err != nil {
		return nil, err
	}
	if overrun := stats.Lines[0].Overrun; stats.DeviceDrops > 0 || overrun > 0 {
		return nil, fmt.Errorf("this machine is too slow for the run: %d packets were lost before the link and %d in the emulator", stats.DeviceDrops, overrun)
	}
	r := s.evaluate(ends, w.passages)
	r.LateMillisP95 = round(stats.Lines[0].LateP95.Seconds() * 1000)
	r.StolenRatio = round(readProcessorTime().stolenSince(begin))
	return r, nil
}

// possible tells whether this machine can run it at all.
func possible(s *scenario) error {
	if os.Geteuid() != 0 {
		return usageError{errors.New("network namespaces and TUN devices need root: run this as root, or with sudo")}
	}
	for _, f := range s.Flows {
		if name, tcp := f.congestion(); tcp {
			if err := hasCongestion(name); err != nil {
				return usageError{err}
			}
		}
	}
	return nil
}

// A process is a running end.
type process struct {
	end    end
	cmd    *exec.Cmd
	out    *bufio.Reader
	errors bytes.Buffer
}

// play starts all ends, waits until the run is over, and returns their reports,
// the sender's and then the receiver's of each flow.
func play(ctx context.Context, s *scenario, link *emulator.Network) ([]report, error) {
	begin := time.Now().Add(setUp - link.Now())
	ctx, cancel := context.WithDeadline(ctx, begin.Add(s.Length+reportPatience))
	defer cancel()
	var processes []*process
	defer func() {
		for _, p := range processes {
			cancel() // kills it if it still runs
			_ = p.cmd.Wait()
		}
	}()
	for i, f := range s.Flows {
		for _, sends := range []bool{true, false} {
			e := end{
				Flow: i, Kind: f.Kind, Channels: f.Channels, Sends: sends, BeginUnixNano: begin.UnixNano(), Start: f.Start, Length: s.Length,
				Tiers: f.Tiers, SegmentBytes: s.SegmentBytes, Paced: s.Paced,
			}
			own, peer := link.Hosts[1], link.Hosts[0]
			if sends {
				own, peer = peer, own
			}
			e.Own = netip.AddrPortFrom(own.Addr, uint16(portFirst+i))
			e.Peer = netip.AddrPortFrom(peer.Addr, uint16(portFirst+i))
			p, err := e.start(ctx, own)
			if err != nil {
				return nil, err
			}
			processes = append(processes, p)
		}
	}
	for _, p := range processes {
		if err := p.awaitReady(); err != nil {
			return nil, err
		}
	}
	if late := time.Since(begin); late > 0 {
		return nil, fmt.Errorf("the flows' processes were ready %v too late: this machine is too busy to measure anything", late.Round(time.Millisecond))
	}
	var reports []report
	for _, p := range processes {
		r, err := p.report()
		if err != nil {
			return nil, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func (e end) start(ctx context.Context, h *emulator.Host) (*process, error) {
	encoded, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{end: e, cmd: exec.CommandContext(ctx, self, endCommand, string(encoded))}
	p.cmd.Stderr = &p.errors
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := h.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %v: %w", &e, err)
	}
	return p, nil
}

func (p *process) awaitReady() error {
	if line, err := p.out.ReadString('\n'); err != nil || line != "ready\n" {
		return p.failed(err)
	}
	return nil
}

func (p *process) report() (r report, err error) {
	if err := json.NewDecoder(p.out).Decode(&r); err != nil {
		return r, p.failed(err)
	}
	if r.Error != "" {
		return r, p.failed(errors.New(r.Error))
	}
	return r, nil
}

// failed tells what an end said last.
func (p *process) failed(err error) error {
	said := strings.TrimSpace(p.errors.String())
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("ended too early")
	}
	side := "receiver"
	if p.end.Sends {
		side = "sender"
	}
	if said == "" {
		return fmt.Errorf("%s of %v: %w", side, &p.end, err)
	}
	return fmt.Errorf("%s of %v: %w: %s", side, &p.end, err, said)
}
