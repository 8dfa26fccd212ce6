package cc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A pipeline sends bursts and has them acknowledged a round trip later.
type pipeline struct {
	r          *Recovery
	now        time.Time
	sent, done uint64
	burst      uint64
	lossy      bool
	ranges     []Range
}

func newPipeline(c Controller, burst uint64, lossy bool) *pipeline {
	p := &pipeline{r: NewRecovery(modelStart, c), now: modelStart, burst: burst, lossy: lossy, ranges: make([]Range, 0, 2)}
	for range 1000 { // until the ring has its size
		p.step()
	}
	return p
}

// step is one turn of a sender's loop: timers, a burst out, an ACK in.
func (p *pipeline) step() {
	p.now = p.now.Add(100 * time.Microsecond)
	p.r.Advance(p.now)
	p.r.Budget(p.now)
	for range p.burst {
		p.r.Sent(p.now, p.sent, modelPacketBytes)
		p.sent++
	}
	const flights = 16
	if p.sent < flights*p.burst {
		return
	}
	first, last := p.done, p.done+p.burst-1
	p.ranges = append(p.ranges[:0], Range{first, last})
	if p.lossy {
		p.ranges[0].First++
	}
	p.done += p.burst
	if _, err := p.r.Ack(p.now, p.ranges, 0); err != nil {
		panic(err)
	}
	p.r.NextSend(p.now)
	p.r.Next()
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	for name, c := range benchControllers() {
		for _, lossy := range []bool{false, true} {
			p := newPipeline(c(), 64, lossy)
			require.Zero(t, testing.AllocsPerRun(1000, p.step), name)
			require.Equal(t, lossy, p.r.Stats().LostPackets > 0)
		}
	}
}

func benchControllers() map[string]func() Controller {
	var g Group
	return map[string]func() Controller{
		"cubic":  func() Controller { return NewCubic(modelStart) },
		"fast":   func() Controller { return NewTiered(modelStart, Fast) },
		"slow":   func() Controller { return NewTiered(modelStart, Slow) },
		"member": func() Controller { return g.NewTiered(modelStart, Fast) },
	}
}

func BenchmarkRecovery(b *testing.B) {
	controllers := benchControllers()
	for _, bc := range []struct {
		name, controller string
		burst            uint64
		lossy            bool
	}{
		{"cubic/burst=2", "cubic", 2, false},
		{"cubic/burst=60", "cubic", 60, false},
		{"cubic/burst=60/loss", "cubic", 60, true},
		{"fast/burst=2", "fast", 2, false},
		{"fast/burst=60", "fast", 60, false},
		{"fast/burst=60/loss", "fast", 60, true},
	} {
		b.Run(bc.name, func(b *testing.B) {
			p := newPipeline(controllers[bc.controller](), bc.burst, bc.lossy)
			b.ReportAllocs()
			b.SetBytes(int64(bc.burst) * modelPacketBytes)
			for b.Loop() {
				p.step()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bc.burst), "ns/packet")
		})
	}
}

func BenchmarkCubicAck(b *testing.B) {
	c := NewCubic(modelStart).(*Cubic)
	c.thresholdBytes = c.windowBytes
	now := modelStart.Add(time.Second)
	s := Sample{AckedBytes: 2 * PacketBytes, AckedPackets: 2, SentAt: now, RTT: 40 * ms, SmoothedRTT: 40 * ms, WindowLimited: true}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(ms)
		c.Acked(now, s)
	}
}
