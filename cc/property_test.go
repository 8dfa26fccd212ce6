package cc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sound checks what must hold after any event.
func sound(r *Recovery, now time.Time) error {
	s := r.Stats()
	switch rate := r.PacingBytesPerSec(); {
	case r.InFlightBytes() < 0:
		return fmt.Errorf("%d bytes in flight", r.InFlightBytes())
	case s.SentBytes != s.AckedBytes+s.LostBytes+uint64(r.InFlightBytes()):
		return fmt.Errorf("%d bytes sent, but %d acknowledged, %d lost and %d in flight", s.SentBytes, s.AckedBytes, s.LostBytes, r.InFlightBytes())
	case s.SentPackets < s.AckedPackets+s.LostPackets || s.LateBytes > s.LostBytes:
		return fmt.Errorf("counters %+v", s)
	case r.WindowBytes() < minYieldBytes || r.WindowBytes() > MaxWindowBytes:
		return fmt.Errorf("window of %d bytes", r.WindowBytes())
	case !(rate > 0) || math.IsInf(rate, 0):
		return fmt.Errorf("pacing at %v", rate)
	case r.DeliveryRate() < 0 || math.IsInf(r.DeliveryRate(), 0) || math.IsNaN(r.DeliveryRate()):
		return fmt.Errorf("delivery rate %v", r.DeliveryRate())
	case (r.InFlightBytes() > 0) != !r.Next().IsZero():
		return fmt.Errorf("timer at %v with %d bytes in flight", r.Next(), r.InFlightBytes())
	}
	budget := r.Budget(now)
	if budget < 0 || budget > maxBurstBytes || budget > 0 && r.InFlightBytes()+budget > max(r.WindowBytes(), PacketBytes) {
		return fmt.Errorf("budget of %d bytes with %d in flight of %d", budget, r.InFlightBytes(), r.WindowBytes())
	}
	// Whoever waits for the announced moment may send then.
	if next := r.NextSend(now); next.IsZero() != (r.room() == 0) || !next.IsZero() && next.Before(now) {
		return fmt.Errorf("sends next at %v, it is %v", next, now)
	}
	return nil
}

// drains lets time pass with no ACK at all: nothing may stay in flight.
func drains(r *Recovery) error {
	for range 10_000 {
		next := r.Next()
		if next.IsZero() {
			return nil
		}
		before := r.InFlightBytes()
		r.Advance(next)
		if err := sound(r, next); err != nil {
			return err
		}
		if !r.Next().IsZero() && !r.Next().After(next) && r.InFlightBytes() == before {
			return fmt.Errorf("the timer at %v does not move", next)
		}
	}
	return fmt.Errorf("%d bytes in flight for ever", r.InFlightBytes())
}

func TestAnyOrderOfEventsLeavesRecoverySound(t *testing.T) {
	t.Run("cubic", func(t *testing.T) {
		anyOrderOfEvents(t, func(now time.Time) (*Recovery, func(time.Time)) { return NewRecovery(now, NewCubic(now)), nil })
	})
	t.Run("tiered", func(t *testing.T) {
		anyOrderOfEvents(t, func(now time.Time) (*Recovery, func(time.Time)) { return NewRecovery(now, NewTiered(now, Fast)), nil })
	})
	// Beside a channel that stands in a queue and now and then meets congestion, under a governor.
	t.Run("group", func(t *testing.T) {
		anyOrderOfEvents(t, func(now time.Time) (*Recovery, func(time.Time)) {
			var g Group
			r := NewRecovery(now, g.NewTiered(now, Fast))
			r.Govern(NewUploadGovernor(now, Uploads{MaxBytesPerSec: 1e6, Yield: true}))
			other := inCruise(&g, now)
			other.standInQueue()
			return r, func(now time.Time) {
				other.place = g.place(now, other, other.inFlight)
				other.congested(now, now)
			}
		})
	})
}

// anyOrderOfEvents drives what begin makes; another is something else that may happen.
func anyOrderOfEvents(t *testing.T, begin func(now time.Time) (r *Recovery, another func(now time.Time))) {
	rapid.Check(t, func(t *rapid.T) {
		now := modelStart
		r, another := begin(now)
		next := rapid.Uint64Range(0, 10).Draw(t, "first")
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		number := func(label string) uint64 { // mostly near the end, sometimes beyond it
			back := rapid.Uint64Range(0, 60).Draw(t, label)
			if back > next+2 {
				return 0
			}
			return next + 2 - back
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check(sound(r, now)) },
			"send": func(t *rapid.T) {
				next += rapid.SampledFrom([]uint64{0, 0, 0, 0, 1, maxSkippedPackets}).Draw(t, "left out")
				bytes := rapid.SampledFrom([]int{0, 1, modelPacketBytes, modelPacketBytes, 1<<16 - 1}).Draw(t, "bytes")
				for range rapid.IntRange(1, 40).Draw(t, "packets") {
					r.Sent(now, next, bytes)
					next++
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(300*ms)).Draw(t, "nanoseconds")))
			},
			"go back in time": func(*rapid.T) { r.Advance(now.Add(-time.Hour)) },
			"advance":         func(*rapid.T) { r.Advance(now) },
			"wait for the timer": func(*rapid.T) {
				if at := r.Next(); at.After(now) {
					now = at
				}
				r.Advance(now)
			},
			"honest ack": func(t *rapid.T) {
				for first := number("ack from"); first < next; first++ {
					_, err := r.Ack(now, []Range{{first, first}}, 0)
					if err != nil && !errors.Is(err, ErrNeverSent) {
						check(err)
					}
				}
			},
			"any ack": func(t *rapid.T) {
				var ranges []Range
				for range rapid.IntRange(0, 4).Draw(t, "ranges") {
					ranges = append(ranges, Range{number("first"), number("last")})
				}
				before := r.Stats()
				delay := time.Duration(rapid.Int64().Draw(t, "delay"))
				if _, err := r.Ack(now, ranges, delay); err != nil && r.Stats() != before {
					t.Fatalf("a refused ACK changed %+v into %+v", before, r.Stats())
				}
			},
			"marked ack": func(t *rapid.T) {
				before, last := r.Stats(), number("last")
				_, err := r.AckMarked(now, []Range{{last - min(last, 3), last}}, 0, rapid.Uint64Range(0, next+2).Draw(t, "marked"))
				if err != nil && r.Stats() != before {
					t.Fatalf("a refused ACK changed %+v into %+v", before, r.Stats())
				}
			},
			"another channel": func(*rapid.T) {
				if another != nil {
					another(now)
				}
			},
			"tier": func(t *rapid.T) {
				if c, ok := r.Controller().(TierController); ok {
					c.SetTier(now, Tier(rapid.Uint8Range(0, 4).Draw(t, "tier")))
				}
			},
			"steady stream": func(t *rapid.T) { // so that filters and phases come into play
				delay := time.Duration(rapid.Int64Range(0, int64(100*ms)).Draw(t, "round trip"))
				for range rapid.IntRange(1, 300).Draw(t, "packets") {
					r.Sent(now, next, modelPacketBytes)
					now = now.Add(delay)
					_, err := r.Ack(now, []Range{{next, next}}, 0)
					check(err)
					next++
				}
			},
			"cap":       func(t *rapid.T) { r.SetRateCap(now, rapid.Uint64().Draw(t, "cap")) },
			"no work":   func(*rapid.T) { r.SetAppLimited() },
			"emptiness": func(*rapid.T) { check(drains(r)) },
		})
		check(drains(r))
	})
}

// FuzzAck reads pairs of 16-bit numbers, relative to the first packet, as the
// ranges of ACKs, at most five to each; the bits of the first byte say whether numbers are
// left out, and who controls. Lies never grow the window beyond what
// honest ACKs of the same packets would, and never lead to a panic.
func FuzzAck(f *testing.F) {
	const sent = 10
	ack := func(numbers ...int16) []byte {
		b := []byte{0}
		for _, n := range numbers {
			b = binary.BigEndian.AppendUint16(b, uint16(n))
		}
		return b
	}
	f.Add(ack(0, 9))
	f.Add(ack(5, 9, 0, 3))
	f.Add(ack(9, 5))
	f.Add(ack(0, 10))
	f.Add(ack(-1, -1, 0, 0)) // wraps around to the end of all numbers
	f.Add(ack(8, 9, 8, 9))
	f.Add(append([]byte{1}, ack(3, 9, 0, 1)[1:]...))
	f.Add(append([]byte{2}, ack(5, 9, 0, 3)[1:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 1024 {
			return
		}
		now := modelStart
		controller, limit := NewCubic(now), 2*InitialWindowBytes
		if data[0]&2 != 0 { // one ACK of all ten has the rate of a window in each round trip and its wait
			controller, limit = NewTiered(now, Fast), 3*InitialWindowBytes
		}
		r := NewRecovery(now, controller)
		next := uint64(0)
		for range sent {
			r.Sent(now, next, modelPacketBytes)
			next += 1 + uint64(data[0]&1) // every second number left out
		}
		for data = data[1:]; len(data) >= 4; {
			var ranges []Range
			for len(data) >= 4 && len(ranges) < 5 {
				first, last := int16(binary.BigEndian.Uint16(data)), int16(binary.BigEndian.Uint16(data[2:]))
				ranges = append(ranges, Range{uint64(first), uint64(last)})
				data = data[4:]
			}
			now = now.Add(20 * ms)
			result, err := r.Ack(now, ranges, 0)
			if err != nil && result != (Result{}) {
				t.Fatalf("refused, and yet %+v", result)
			}
			if err := sound(r, now); err != nil {
				t.Fatal(err)
			}
		}
		if r.WindowBytes() > limit {
			t.Fatalf("%d packets made a window of %d bytes", sent, r.WindowBytes())
		}
		if err := drains(r); err != nil {
			t.Fatal(err)
		}
	})
}
