package engine
import ("testing";"fmt";"time";"io";"syscall")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0, &r); return time.Duration(r.Utime.Nano()+r.Stime.Nano()) }
func TestDbg(t *testing.T) {
	const size = 128 << 20
	w := newWorld(t, 2, size).withTracker()
	roomy := func(c *Config) { c.CacheBytes = 1 << 30 }
	seed := w.peer("seed", roomy)
	f := w.file(seed, 1)
	v := f.Title().Viewer("player")
	v.Report(Playback{Position: segmentTime, Rate: 1})
	readAll(f, OpenOptions{Viewer: v})
	v.Close()
	w.holds(seed, size/65536)
	leech := w.peer("leech", roomy)
	f = w.file(leech, 1)
	w.connected(leech, 1)
	start := time.Now(); c0 := cpu()
	r, _ := f.Open(t.Context(), OpenOptions{Deadline: time.Now().Add(time.Minute)})
	stop := make(chan bool)
	go func() { for { select { case <-stop: return; case <-time.After(40*time.Millisecond): }
		done := make(chan bool)
		var s string
		seed.post(func(now time.Time) { for _, p := range seed.loop.peers { c := p.channel.Stats(); s = fmt.Sprintf("infl %dk win %dk pace %.0fM rtt %v lost %d serving=%v resid %d", c.InFlightBytes>>10, c.WindowBytes>>10, c.PacingBytesPerSec/1e6, c.RTT, c.LostPackets, p.serving, len(seed.loop.residents.byPiece)) }; close(done) }); <-done
		st := leech.Status(); x := st.Seeds[0]
		fmt.Println(time.Since(start).Milliseconds(), "cpu", (cpu()-c0).Milliseconds(), "act", st.Active, "ready", st.Ready, "dup", st.Bytes.Duplicate>>10, "p2p", st.Bytes.P2P>>20, "out", x.Outstanding>>10, "frz", x.FrozenMillis, "rate", int(x.RateBytesPerSec/1e6), s)
	} }()
	n, err := io.Copy(io.Discard, r)
	close(stop)
	fmt.Println(n, err, time.Since(start), leech.endpoint.Stats())
	r.Close()
}
