package engine

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxUserActive bounds how long one report that the line is needed counts: who
// forgets to take it back must not end a node's uploads for good.
const maxUserActive = time.Hour

// UserActive tells that somebody needs the uplink for that long, at most an hour:
// a call, a game. Uploads leave the line to them. 0 takes it back.
func (e *Engine) UserActive(d time.Duration) {
	e.post(func(now time.Time) {
		if e.uploads != nil {
			e.uploads.UserActive(now, now.Add(min(max(d, 0), maxUserActive)))
		}
	})
}

func (l *loop) uploadStatus(now time.Time, st *UploadStatus) {
	g := l.e.uploads
	if g == nil || !st.On {
		return
	}
	if limit := g.LimitBytesPerSec(now); !math.IsInf(limit, 1) {
		st.LimitBytesPerSec = max(int64(limit), 1)
	}
	st.CarriedBytesPerSec = int64(g.CarriedBytesPerSec())
}

// otherSender measures what the rest of this machine sends.
type otherSender struct {
	at    time.Time
	all   uint64 // sent by all interfaces
	ours  uint64 // and by this node
	known bool
}

// measure returns bytes per second since the last call; 0 where the system does
// not tell.
func (o *otherSender) measure(now time.Time, ours uint64) float64 {
	all, ok := sentByInterfaces()
	last := *o
	*o = otherSender{at: now, all: all, ours: ours, known: ok}
	passed := now.Sub(last.at).Seconds()
	if !ok || !last.known || passed <= 0 || all < last.all || ours < last.ours {
		return 0
	}
	others := float64(all-last.all) - float64(ours-last.ours)
	return max(others/passed, 0)
}

// sentByInterfaces is what the interfaces of this machine, loopback aside, have
// sent since they came up. Linux only.
func sentByInterfaces() (total uint64, ok bool) {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0, false
	}
	return parseSent(b)
}

// parseSent adds up the ninth number of each line of /proc/net/dev (proc(5)).
func parseSent(b []byte) (total uint64, ok bool) {
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		name, rest, found := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !found || strings.TrimSpace(name) == "lo" || len(fields) < 9 {
			continue
		}
		n, err := strconv.ParseUint(fields[8], 10, 64)
		if err != nil {
			continue
		}
		total, ok = total+n, true
	}
	return total, ok
}
