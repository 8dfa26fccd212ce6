//go:build netns && linux

package emulator

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func bottleneck(t *testing.T, there, back Line) *Network {
	t.Helper()
	n, err := NewBottleneck(1, there, back)
	require.NoError(t, err, "these tests need root")
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func star(t *testing.T, links ...Link) *Network {
	t.Helper()
	n, err := NewStar(1, links)
	require.NoError(t, err, "these tests need root")
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// sink discards what comes by TCP and counts it.
type sink struct {
	addr  string
	bytes atomic.Int64
}

func listen(t *testing.T, h *Host) *sink {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", netip.AddrPortFrom(h.Addr, 0).String())
	require.NoError(t, err)
	s := &sink{addr: l.Addr().String()}
	over := make(chan struct{})
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				<-over
				_ = c.Close() // the sender may be behind a line that has ended
			})
			open.Go(func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					s.bytes.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(over)
		open.Wait()
	})
	return s
}

const insideEnv = "EMULATOR_TEST_INSIDE"

// TestMain runs the tests in a process with priority: what they measure is the
// emulator, and not what else the machine does.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		// The load generator shares the process: see the package comment.
		runtime.GOMAXPROCS(runtime.NumCPU() + 8)
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the process is killed when this thread ends
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	prepare(cmd)
	err := cmd.Start()
	if err == nil {
		// Without the right to, the tests say what they lack.
		_ = prioritize(cmd.Process.Pid, -20)
		err = cmd.Wait()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		panic(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// send sends by the kernel's TCP with a congestion control, until the test ends.
func send(t *testing.T, h *Host, to, control string) {
	t.Helper()
	c, err := h.Dial(t.Context(), "tcp", to)
	require.NoError(t, err)
	raw, err := c.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	var set error
	require.NoError(t, raw.Control(func(fd uintptr) {
		set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, control)
	}))
	require.NoError(t, set)
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		done.Wait()
	})
}

// after returns when so much time has passed on the emulator's clock.
func after(t *testing.T, n *Network, d time.Duration) {
	t.Helper()
	until := n.Now() + d
	require.Eventually(t, func() bool { return n.Now() >= until }, d+10*time.Second, 5*time.Millisecond)
}

func stats(t *testing.T, n *Network) Stats {
	t.Helper()
	s, err := n.Stats()
	require.NoError(t, err)
	return s
}

// processor is the time this process has used.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// ipShare is TCP payload per IP packet of 1,500 bytes, with time stamps.
const ipShare = 1448.0 / 1500

func TestKernelCubicFillsTheLine(t *testing.T) {
	line := Line{BytesPerSec: 20 * mbit, Delay: 20 * ms, Queue: BDP(1, 20*mbit, 40*ms)}
	n := bottleneck(t, line, Line{Delay: 20 * ms})
	s := listen(t, n.Hosts[1])
	send(t, n.Hosts[0], s.addr, "cubic")
	after(t, n, 2*time.Second)
	began, bytes, cpu := n.Now(), s.bytes.Load(), processor(t)
	after(t, n, 8*time.Second)
	took := (n.Now() - began).Seconds()
	goodput := float64(s.bytes.Load()-bytes) / took / mbit
	there := stats(t, n).Lines[0]
	t.Logf("goodput %.2f Mbit/s of %.2f; queue p50 %v, p95 %v; %d dropped; handed on late: mean %v, p95 %v; %.0f %% of a core, load generator included",
		goodput, 20*ipShare, there.QueueP50, there.QueueP95, there.QueueFull, there.LateMean, there.LateP95, (processor(t)-cpu).Seconds()/took*100)
	require.InEpsilon(t, 20*ipShare, goodput, 0.05)
	require.Zero(t, stats(t, n).DeviceDrops)
}

// echo answers datagrams.
func echo(t *testing.T, h *Host) string {
	t.Helper()
	var c net.PacketConn
	require.NoError(t, h.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", netip.AddrPortFrom(h.Addr, 0).String())
		return err
	}))
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, MTU)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		done.Wait()
	})
	return c.LocalAddr().String()
}

// ping sends count datagrams, one every interval, and returns the round trips of
// those that were answered, sorted.
func ping(t *testing.T, h *Host, to string, count int, interval time.Duration) (trips []time.Duration) {
	t.Helper()
	c, err := h.Dial(t.Context(), "udp4", to)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	sent := make([]time.Time, count)
	var lock sync.Mutex
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for i := range count {
			<-tick.C
			lock.Lock()
			sent[i] = time.Now()
			lock.Unlock()
			_, _ = c.Write([]byte(strconv.Itoa(i)))
		}
		_ = c.SetReadDeadline(time.Now().Add(500 * ms))
	})
	buf := make([]byte, MTU)
	for {
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		i, err := strconv.Atoi(string(buf[:n]))
		require.NoError(t, err)
		lock.Lock()
		trips = append(trips, time.Since(sent[i]))
		lock.Unlock()
	}
	sending.Wait()
	slices.Sort(trips)
	return trips
}

func TestRoundTripIsAsSet(t *testing.T) {
	n := bottleneck(t, Line{BytesPerSec: 20 * mbit, Delay: 25 * ms}, Line{BytesPerSec: 20 * mbit, Delay: 25 * ms})
	trips := ping(t, n.Hosts[0], echo(t, n.Hosts[1]), 400, 10*ms)
	require.Len(t, trips, 400)
	t.Logf("50 ms set: p1 %v, p50 %v, p95 %v, p99 %v", trips[4], trips[200], trips[380], trips[396])
	require.GreaterOrEqual(t, trips[0], 50*ms-2*slack)
	require.InDelta(t, 50*ms, trips[200], float64(3*ms))
}

func TestLossIsAsSetOnTheWire(t *testing.T) {
	n := bottleneck(t, Line{Loss: 0.05, Delay: ms}, Line{Delay: ms})
	const count = 4000
	trips := ping(t, n.Hosts[0], echo(t, n.Hosts[1]), count, ms)
	loss := 1 - float64(len(trips))/count
	t.Logf("5 %% set: %.2f %% lost", loss*100)
	require.InDelta(t, 0.05, loss, 0.015)
	require.EqualValues(t, count-len(trips), stats(t, n).Lines[0].Lost)
}

func TestStarPassesBothAccessLines(t *testing.T) {
	fast := Link{Down: Line{BytesPerSec: 50 * mbit, Delay: 5 * ms}, Up: Line{BytesPerSec: 50 * mbit, Delay: 5 * ms}}
	thin := Link{Down: Line{BytesPerSec: 20 * mbit, Delay: 15 * ms}, Up: Line{BytesPerSec: 2 * mbit, Delay: 15 * ms}}
	n := star(t, fast, thin, fast, thin)
	trips := ping(t, n.Hosts[0], echo(t, n.Hosts[1]), 100, 5*ms)
	require.InDelta(t, 40*ms, trips[50], float64(4*ms))

	for _, flow := range []struct {
		from, to int
		rate     float64 // of the narrowest line on the way
	}{{0, 1, 20}, {3, 2, 2}} {
		send(t, n.Hosts[flow.from], listen(t, n.Hosts[flow.to]).addr, "cubic")
		after(t, n, 2*time.Second)
		carried := func() int64 { return stats(t, n).Lines[2*flow.to].DeliveredBytes }
		began, bytes := n.Now(), carried()
		after(t, n, 4*time.Second)
		rate := float64(carried()-bytes) / (n.Now() - began).Seconds() / mbit
		t.Logf("host %d to host %d: %.2f Mbit/s of IP packets", flow.from, flow.to, rate)
		require.InEpsilon(t, flow.rate, rate, 0.08)
	}
}

func TestSixteenHouseholdsUseLessThanACore(t *testing.T) {
	const households = 16
	links := []Link{{}} // the server
	for range households {
		links = append(links, Link{Down: Line{BytesPerSec: 10 * mbit, Delay: 15 * ms}, Up: Line{BytesPerSec: 2 * mbit, Delay: 15 * ms}})
	}
	n := star(t, links...)
	var sinks []*sink
	for _, h := range n.Hosts[1:] {
		s := listen(t, h)
		send(t, n.Hosts[0], s.addr, "cubic")
		sinks = append(sinks, s)
	}
	received := func() (sum int64) {
		for _, s := range sinks {
			sum += s.bytes.Load()
		}
		return sum
	}
	after(t, n, 2*time.Second)
	began, bytes, cpu := n.Now(), received(), processor(t)
	after(t, n, 5*time.Second)
	took := (n.Now() - began).Seconds()
	goodput, cores := float64(received()-bytes)/took/mbit, (processor(t)-cpu).Seconds()/took
	all := stats(t, n)
	t.Logf("%d households, %.1f Mbit/s in all: %.0f %% of a core, load generator and kernel included; %d device drops; last line late: mean %v, p95 %v",
		households, goodput, cores*100, all.DeviceDrops, all.Lines[2*households].LateMean, all.Lines[2*households].LateP95)
	require.InEpsilon(t, households*10*ipShare, goodput, 0.1)
	require.Less(t, cores, 1.0)
	require.Zero(t, all.DeviceDrops)
}

func TestProgramsRunInTheHostAndEndWithIt(t *testing.T) {
	n, err := NewStar(1, []Link{{}, {}})
	require.NoError(t, err)
	cmd := exec.Command("cat") // for as long as its input is open
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, n.Hosts[1].Start(cmd))
	var inside, outside string
	require.NoError(t, n.Hosts[1].Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	outside, err = os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	of, err := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	require.NoError(t, err)
	require.Equal(t, inside, of)
	require.NotEqual(t, outside, of)

	require.NoError(t, n.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	_ = in.Close()
	require.ErrorIs(t, n.Hosts[1].Do(func() error { return nil }), errClosed)
	require.NoError(t, n.Close(), "once more does nothing")
	require.Eventually(t, func() bool { return !namespaceInUse(inside) }, 5*time.Second, 10*ms, "the namespace stays")
}

// namespaceInUse tells whether any thread is in a namespace.
func namespaceInUse(namespace string) bool {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return true
	}
	for _, e := range threads {
		if of, _ := os.Readlink("/proc/self/task/" + e.Name() + "/ns/net"); of == namespace {
			return true
		}
	}
	return false
}

func TestHostsAreApartFromTheMachine(t *testing.T) {
	n := bottleneck(t, Line{}, Line{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = n.Hosts[0].Dial(ctx, "tcp", l.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	names, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range names {
		require.False(t, strings.HasPrefix(i.Name, "tun"), "the machine itself has got %s", i.Name)
	}
}

func TestBodiesArriveUnchanged(t *testing.T) {
	n := bottleneck(t, Line{BytesPerSec: 50 * mbit, Delay: 5 * ms, Jitter: 4 * ms, Reorder: true, Loss: 0.01}, Line{Delay: 5 * ms})
	l, err := n.Hosts[1].Listen(t.Context(), "tcp", netip.AddrPortFrom(n.Hosts[1].Addr, 0).String())
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		c, err := n.Hosts[0].Dial(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			_, err = c.Write(body)
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	c, err := l.Accept()
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	sending.Wait()
	require.True(t, string(got) == string(body))
}
