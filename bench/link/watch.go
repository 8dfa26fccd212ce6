package main

import (
	"encoding/binary"
	"time"

	"shoal/bench/emulator"
)

// A passage is what became of one packet at the bottleneck.
type passage struct {
	at, queued time.Duration // at: since the run's start
	flow       int8
	fate       emulator.Fate
}

// A watcher notes the passages of all flows. Its observe is called by the
// emulator; nothing is read before the link is closed.
type watcher struct {
	flows    int
	passages []passage
}

// observe is the line's Observe.
func (w *watcher) observe(at time.Duration, packet []byte, fate emulator.Fate, queued time.Duration) {
	if f := flowOf(packet); at >= setUp && f >= 0 && f < w.flows {
		w.passages = append(w.passages, passage{at: at - setUp, queued: queued, flow: int8(f), fate: fate})
	}
}

// flowOf is the flow that an IPv4 packet of TCP or UDP belongs to, by the port of
// its destination; not that of a flow: none.
func flowOf(packet []byte) int {
	const tcp, udp = 6, 17
	head := int(packet[0]&0x0f) * 4
	if len(packet) < head+4 || packet[9] != tcp && packet[9] != udp {
		return -1
	}
	return int(binary.BigEndian.Uint16(packet[head+2:])) - portFirst
}
