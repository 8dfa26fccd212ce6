package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Link is a host's access link.
type Link struct {
	Down, Up Line
}

// Network is a set of hosts and the lines between them.
type Network struct {
	// Hosts in the order of their links; of a bottleneck, both ends.
	Hosts []*Host

	// constant once the loop runs
	begin     time.Time
	lines     []*line
	entrances []*line // by host: where its packets enter
	device    device
	loopEnded chan struct{}
	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex // guards what follows, and the lines
	flight flight
	free   []*packet
	astray int64
	closed bool
}

// Stats of a Network.
type Stats struct {
	Lines []LineStats `json:"lines"`
	// DeviceDrops were lost between a host and the emulator, and Astray had no
	// host as their destination. DeviceDrops above zero: the machine is too slow
	// for the load.
	DeviceDrops int64 `json:"device_drops"`
	Astray      int64 `json:"astray"`
}

// hosts get addresses of the range for benchmarks (RFC 2544), which nobody takes
// for those of an inner network.
var hosts = netip.MustParsePrefix("198.18.0.0/15")

const (
	// hostsMax bounds a star: a thread and a namespace each.
	hostsMax = 1000

	// slack is how much too early a packet may be handed on, so that one waking
	// of the loop serves several. The next line still gets the exact time.
	slack = 100 * time.Microsecond
)

// NewBottleneck joins two hosts, Hosts[0] and Hosts[1], by a link: there leads
// from the first to the second.
func NewBottleneck(seed uint64, there, back Line) (*Network, error) {
	if err := errors.Join(check("there", there), check("back", back)); err != nil {
		return nil, err
	}
	n, err := open(2)
	if err != nil {
		return nil, err
	}
	n.entrances = []*line{
		n.line("there", there, seed, n.toHost(1)),
		n.line("back", back, seed, n.toHost(0)),
	}
	return n, n.start()
}

// NewStar joins hosts, each behind a link of its own. The core between the links
// is neither slow nor far.
func NewStar(seed uint64, links []Link) (*Network, error) {
	if len(links) < 2 || len(links) > hostsMax {
		return nil, fmt.Errorf("a star of %d hosts: take 2 to %d", len(links), hostsMax)
	}
	name := func(i int, way string) string { return fmt.Sprintf("host %d %s", i, way) }
	for i, l := range links {
		if err := errors.Join(check(name(i, "down"), l.Down), check(name(i, "up"), l.Up)); err != nil {
			return nil, err
		}
	}
	n, err := open(len(links))
	if err != nil {
		return nil, err
	}
	var downs []*line
	toCore := func(at time.Duration, p *packet) {
		if to, ok := n.destination(p); ok {
			n.enter(at, downs[to], p)
			return
		}
		n.astray++
		n.release(p)
	}
	for i, l := range links {
		downs = append(downs, n.line(name(i, "down"), l.Down, seed, n.toHost(i)))
		n.entrances = append(n.entrances, n.line(name(i, "up"), l.Up, seed, toCore))
	}
	return n, n.start()
}

func check(name string, l Line) error {
	if err := l.check(); err != nil {
		return fmt.Errorf("line %q: %w", name, err)
	}
	return nil
}

func open(count int) (*Network, error) {
	n := &Network{begin: time.Now(), loopEnded: make(chan struct{})}
	addr := hosts.Addr()
	for range count {
		addr = addr.Next()
		h, err := openHost(netip.PrefixFrom(addr, hosts.Bits()))
		if err != nil {
			close(n.loopEnded)
			return nil, errors.Join(err, n.Close())
		}
		n.Hosts = append(n.Hosts, h)
	}
	return n, nil
}

func (n *Network) line(name string, l Line, seed uint64, out func(time.Duration, *packet)) *line {
	own := rand.New(rand.NewPCG(seed, uint64(len(n.lines)))).Uint64()
	made := &line{name: name, shaper: newShaper(l, own), out: out}
	n.lines = append(n.lines, made)
	return made
}

// toHost hands packets to a host's kernel. What its device does not take is lost,
// as is a packet that a host has no room for.
func (n *Network) toHost(i int) func(time.Duration, *packet) {
	h := n.Hosts[i]
	return func(_ time.Duration, p *packet) {
		h.write(p)
		n.release(p)
	}
}

// destination is the index of the host that an IPv4 packet is for.
func (n *Network) destination(p *packet) (int, bool) {
	const at = 16 // RFC 791
	first := hosts.Addr().As4()
	i := int64(binary.BigEndian.Uint32(p.data[at:])) - int64(binary.BigEndian.Uint32(first[:])) - 1
	return int(i), i >= 0 && i < int64(len(n.Hosts))
}

// start begins to carry packets.
func (n *Network) start() error {
	ready := make(chan error)
	go onThread(func() {
		defer close(n.loopEnded)
		err := n.openDevice()
		ready <- err
		if err == nil {
			n.run()
		}
	})
	if err := <-ready; err != nil {
		return errors.Join(err, n.Close())
	}
	return nil
}

// The loop: run, on one thread, calls these with mu held.

// take takes a packet that a host has sent.
func (n *Network) take(from int, p *packet) {
	const ipv4, header = 4, 20
	if p.n < header || p.data[0]>>4 != ipv4 {
		n.release(p) // IPv6's router solicitations
		return
	}
	n.enter(n.Now(), n.entrances[from], p)
}

// enter puts a packet on a line.
func (n *Network) enter(now time.Duration, l *line, p *packet) {
	fate, at := l.enter(now, p)
	if fate != Delivered {
		n.release(p)
		return
	}
	l.flying++
	n.flight.push(at, l, p)
}

// deliver hands on what has arrived and returns how long it is until the next
// packet does; forever without any.
func (n *Network) deliver() time.Duration {
	for now := n.Now(); n.flight.len() > 0; now = n.Now() {
		if first := n.flight.first(); first > now+slack {
			return first - now
		}
		f := n.flight.pop()
		f.line.flying--
		f.line.lateness.add(now - f.at)
		f.line.out(f.at, f.p)
	}
	return forever
}

// packet returns a free packet.
func (n *Network) packet() *packet {
	last := len(n.free) - 1
	if last < 0 {
		return new(packet)
	}
	p := n.free[last]
	n.free = n.free[:last]
	return p
}

func (n *Network) release(p *packet) { n.free = append(n.free, p) }

// Now is the time since the Network's start, by which steps are counted.
func (n *Network) Now() time.Duration { return time.Since(n.begin) }

// Stats returns all counters. The lines of a bottleneck are "there" and "back",
// those of a star "host I down" and "host I up".
func (n *Network) Stats() (s Stats, err error) {
	n.mu.Lock()
	s.Astray = n.astray
	for _, l := range n.lines {
		s.Lines = append(s.Lines, l.stats())
	}
	n.mu.Unlock()
	for _, h := range n.Hosts {
		drops, err := h.drops()
		if err != nil {
			return s, err
		}
		s.DeviceDrops += drops
	}
	return s, nil
}

// Close kills the programs that were started in the hosts, and removes hosts and
// lines.
func (n *Network) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.closeErr = n.wake()
		<-n.loopEnded
		for _, h := range n.Hosts {
			h.end()
		}
		n.closeErr = errors.Join(n.closeErr, n.closeDevice())
	})
	return n.closeErr
}
