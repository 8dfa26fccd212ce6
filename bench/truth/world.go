package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"shoal/bench/emulator"
)

const (
	viewers = 8
	crashes = 2

	// peerWay and originWay are what lies between two households' access lines,
	// and between one and the origin, as round trips: the replay's defaults.
	peerWay   = 10 * time.Millisecond
	originWay = 20 * time.Millisecond

	// uplinkQueueKiB is what a home router buffers: 64 KiB is the smallest of the
	// usual sizes (Kreibich et al., "Netalyzr", IMC 2010, §5.2).
	uplinkQueueKiB = 64
	// downlinkQueue is the access node's: 256 KiB, 100 ms at 20 Mbit/s.
	downlinkQueue = 256 << 10

	bytesPerKbit = 125.0
)

var (
	// uplinkShares are the households' parts of the summed uplink, of 8: a factor
	// of eleven between the slowest and the fastest, as between ADSL and cable.
	uplinkShares = [viewers]float64{0.2, 0.35, 0.5, 0.7, 1, 1.3, 1.7, 2.25}
	downMbits    = [viewers]int{12, 16, 20, 25, 30, 40, 50, 80}
	rttMillis    = [viewers]int{20, 25, 30, 35, 40, 45, 50, 60}
)

// home is a household and its viewer.
type home struct {
	Name     string        `json:"name"`
	DownKbps int           `json:"down_kbps"`
	UpKbps   int           `json:"up_kbps"`
	RTT      time.Duration `json:"rtt_ns"` // of the access line
	Start    time.Duration `json:"start_ns"`
	Watch    time.Duration `json:"watch_ns"`
	Crash    bool          `json:"crash"`
}

// world is what the real runs and the replay have in common.
type world struct {
	homes          []home
	kbps           int // of the title
	length         time.Duration
	seed           uint64
	policy         string // of the replay
	uplinkQueueKiB int    // of each household
}

// newWorld draws a world. The order of the households' lines, the joins and the
// crashes come from the seed; scale changes nothing but the uplinks.
func newWorld(seed uint64, scale float64, kbps int, length time.Duration) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{kbps: kbps, length: length, seed: seed, policy: "shoal", uplinkQueueKiB: uplinkQueueKiB}
	ups, downs, rtts := rng.Perm(viewers), rng.Perm(viewers), rng.Perm(viewers)
	for i := range viewers {
		h := home{
			Name: fmt.Sprintf("viewer-%d", i+1), DownKbps: downMbits[downs[i]] * 1000,
			UpKbps: int(math.Round(uplinkShares[ups[i]] * scale * float64(kbps))),
			RTT:    time.Duration(rttMillis[rtts[i]]) * time.Millisecond,
		}
		if i > 0 { // the first begins at once, the others within a quarter of the run
			h.Start = time.Duration(rng.Float64() * float64(length) / 4).Round(time.Millisecond)
		}
		h.Watch = length - h.Start
		w.homes = append(w.homes, h)
	}
	for _, i := range rng.Perm(viewers)[:crashes] {
		at := time.Duration((0.4 + 0.4*rng.Float64()) * float64(length)).Round(time.Millisecond)
		w.homes[i].Watch, w.homes[i].Crash = at-w.homes[i].Start, true
	}
	slices.SortStableFunc(w.homes, func(a, b home) int { return int(a.Start - b.Start) })
	return w
}

func (w *world) demandKbps() int { return viewers * w.kbps }

// links are the lines of the origin's host, which comes first, and of the
// households. The ways between are parts of the lines' delays: half of a
// household's share of peerWay is on either side.
func (w *world) links() []emulator.Link {
	half := (originWay - peerWay/2) / 2
	links := []emulator.Link{{Down: emulator.Line{Delay: half}, Up: emulator.Line{Delay: half}}}
	for _, h := range w.homes {
		delay := (h.RTT + peerWay/2) / 2
		links = append(links, emulator.Link{
			Down: emulator.Line{BytesPerSec: float64(h.DownKbps) * bytesPerKbit, Delay: delay, Queue: emulator.Queue{Bytes: downlinkQueue}},
			Up:   emulator.Line{BytesPerSec: float64(h.UpKbps) * bytesPerKbit, Delay: delay, Queue: emulator.Queue{Bytes: w.uplinkQueueKiB << 10}},
		})
	}
	return links
}

// write writes the world as a sessions file.
func (w *world) write(dir string, scale float64) (err error) {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("sessions-scale%g.csv", scale)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return w.writeSessions(f)
}

func (w *world) writeSessions(out io.Writer) error {
	text := "session,start_s,title,watch_s,kind,bitrate_kbps,title_s,position_s,down_kbps,up_kbps,rtt_ms,linger_s,crash\n"
	for _, h := range w.homes {
		text += fmt.Sprintf("%s,%.3f,truth,%.3f,vod,%d,%g,0,%d,%d,%d,0,%s\n", h.Name, h.Start.Seconds(), h.Watch.Seconds(),
			w.kbps, titleLength.Seconds(), h.DownKbps, h.UpKbps, h.RTT.Milliseconds(), yesNo(h.Crash))
	}
	_, err := io.WriteString(out, text)
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
