package emulator

import "time"

// MTU of the hosts' devices.
const MTU = 1500

// packet is one IP packet.
type packet struct {
	n    int
	data [MTU]byte
}

// line is a running Line. It belongs to the Network's loop.
type line struct {
	name   string
	shaper *shaper
	// out takes over what has arrived at the line's end.
	out func(at time.Duration, p *packet)

	flying   int // packets on their way
	fates    [fateCount]int64
	bytes    [fateCount]int64
	queue    histogram
	lateness histogram
}

// enter decides about a packet. If it is Delivered, it arrives at at.
func (l *line) enter(now time.Duration, p *packet) (fate Fate, at time.Duration) {
	fate = Overrun
	var queued time.Duration
	if l.flying < packetsMax {
		fate, at, queued = l.shaper.arrive(now, p.n)
	}
	l.fates[fate]++
	l.bytes[fate] += int64(p.n)
	if fate == Delivered || fate == Lost {
		l.queue.add(queued)
	}
	if observe := l.shaper.line.Observe; observe != nil {
		observe(now, p.data[:p.n], fate, queued)
	}
	return fate, at
}

func (l *line) stats() LineStats {
	s := LineStats{
		Name:             l.name,
		DeliveredPackets: l.fates[Delivered], DeliveredBytes: l.bytes[Delivered],
		Policed: l.fates[Policed], QueueFull: l.fates[QueueFull], Lost: l.fates[Lost], Overrun: l.fates[Overrun],
		QueueMean: l.queue.mean(), QueueP50: l.queue.quantile(0.5), QueueP95: l.queue.quantile(0.95), QueueMax: l.queue.most,
		LateMean: l.lateness.mean(), LateP95: l.lateness.quantile(0.95), LateMax: l.lateness.most,
	}
	for i := range l.fates {
		s.Packets += l.fates[i]
		s.Bytes += l.bytes[i]
	}
	return s
}
