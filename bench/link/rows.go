package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Arguments that the runs of the table share. 20 Mbit/s and 40 ms are those of
// the targets; the buffer is one bandwidth-delay product unless a row says so.
const (
	alone  = "--rate 20mbit --rtt 40ms --seconds 20 "
	beside = "--rate 20mbit --rtt 40ms --seconds 45 "
	long   = "--rate 20mbit --rtt 40ms --seconds 90 "

	jitter = " --jitter 20ms"

	// alike makes the packets of TCP as large as DATA datagrams and spreads them as
	// well: what Cubic gets out of a lossy link is proportional to the size of a packet,
	// and of two flows the one that sends bursts loses more in a small queue.
	alike = " --mss 1047 --paced"

	// Links of which plots are drawn, too.
	windowLink     = alone + "--jitter 20ms --flow "
	jitterLossLink = alone + "--jitter 20ms --loss 0.03 --flow "
)

// buffers are in bandwidth-delay products.
var buffers = []string{"0.5", "1", "4"}

const (
	tracesRow = "traces"
	onTraces  = " --rtt 40ms --seconds 40 --flow "

	// tracesHere stands for the folder of the traces in what is published.
	tracesHere = "TRACES"
)

// rows are the targets of congestion control, in the order of the table.
var rows = []row{
	{"cubic", "our Cubic gets what the kernel's gets with packets of the same size, within 10 %", judgeCubic},
	{"loss", "FAST alone, loss 0 to 5 %: share ≥ 0.975 · (1 − loss)", judgeLoss},
	{"jitter-loss", "FAST, 3 % loss, ±20 ms: share ≥ 0.95 · (1 − loss), goodput ≥ 10 × tcp-cubic, share ≥ tcp-bbr", judgeJitterLoss},
	{"queue", "FAST alone, buffer 4 BDP: p95 queue ≤ 15 ms and ≤ 0.1 × tcp-cubic; ≤ 35 ms at ±20 ms", judgeQueue},
	{"scavenger", "SLOW beside tcp-cubic, buffers 0.5 to 4 BDP: takes ≤ 5 %; alone ≥ 95 %", judgeScavenger},
	{"friendly", "tcp-cubic beside FAST keeps ≥ 0.8 × what it keeps beside another tcp-cubic", judgeFriendly},
	{"group", "tcp-cubic beside four or eight FAST channels of one node keeps ≥ 0.8 × what it keeps beside another tcp-cubic", judgeGroup},
	{"fairness", "four FAST, with and without ±20 ms: Jain ≥ 0.95, sent again ≤ 2 %", judgeFairness},
	{"capacity-drop", "20 → 5 Mbit/s: queue below 30 ms again in ≤ 0.5 × tcp-bbr's time", judgeCapacityDrop},
	{"policer", "policer with a bucket of 16 KiB: sent again ≤ 5 % and ≤ 0.5 × tcp-bbr", judgePolicer},
	{tracesRow, "recorded LTE, WiFi, 5G, cable: share ≥ 0.95 × tcp-bbr at ≤ its p95 queue, medians over the traces", judgeTraces},
	{"tier-switch", "beside tcp-cubic: FAST → SLOW ≤ 10 % after 1 s, SLOW → FAST ≥ 40 % by 3 s", judgeTierSwitch},
	{"governor", "10 Mbit/s: tcp-cubic beside four seeding channels (`--upload-yield on`) keeps ≥ 95 % of its lone rate, its p95 RTT rises ≤ 15 ms", judgeGovernor},
	{"window", "±20 ms: coefficient of variation of FAST's window ≤ 0.5 × tcp-cubic's", judgeWindow},
}

// judgeCubic compares ours with the kernel's, on links of their own and, two and two, on
// one. The median of ratios is judged, not how unequal runs were: of two flows of the
// kernel's one got 0.71 to 0.98 of the other's rate in five runs of 45 s, either of them.
func judgeCubic(m *measurer) (checks []check) {
	for _, loss := range []string{"0", "0.001", "0.01"} {
		for _, buffer := range buffers {
			link := fmt.Sprintf("%s--buffer %sbdp --loss %s", alone, buffer, loss)
			ours, theirs := link+" --flow shoal-cubic", link+" --flow tcp-cubic"+alike
			checks = append(checks, nearOne(fmt.Sprintf("ours / the kernel's, alone, %s BDP, loss %s", buffer, loss),
				ratio(m.of(ours).flow(0).GoodputMbps, m.of(theirs).flow(0).GoodputMbps), ours))
		}
	}
	for _, buffer := range buffers {
		four := fmt.Sprintf("%s--buffer %sbdp --flow shoal-cubic --flow tcp-cubic --flow shoal-cubic --flow tcp-cubic%s", long, buffer, alike)
		rate := func(flow int) float64 { return m.of(four).flow(flow).GoodputMbps }
		checks = append(checks, nearOne(fmt.Sprintf("two of ours / two of the kernel's beside them, %s BDP", buffer),
			ratio(rate(0)+rate(2), rate(1)+rate(3)), four))
	}
	return checks
}

func judgeLoss(m *measurer) (checks []check) {
	for _, loss := range []float64{0, 0.01, 0.03, 0.05} {
		args := fmt.Sprintf("%s--loss %g --flow shoal-fast", alone, loss)
		checks = append(checks, atLeast(fmt.Sprintf("share at %g %% loss", 100*loss), m.of(args).flow(0).CapacityShare, 0.975*(1-loss), args))
	}
	return checks
}

func judgeJitterLoss(m *measurer) []check {
	const link = jitterLossLink
	fast, cubic, bbr := m.of(link+"shoal-fast").flow(0), m.of(link+"tcp-cubic").flow(0), m.of(link+"tcp-bbr").flow(0)
	return []check{
		atLeast("share", fast.CapacityShare, 0.95*0.97, link+"shoal-fast"),
		atLeast("goodput / tcp-cubic's", ratio(fast.GoodputMbps, cubic.GoodputMbps), 10, link+"tcp-cubic"),
		atLeast("share / tcp-bbr's", ratio(fast.CapacityShare, bbr.CapacityShare), 1, link+"tcp-bbr"),
	}
}

func judgeQueue(m *measurer) []check {
	const link = alone + "--buffer 4bdp --flow "
	fast, cubic := m.of(link+"shoal-fast").flow(0), m.of(link+"tcp-cubic").flow(0)
	jittery := m.of(link + "shoal-fast" + jitter).flow(0)
	return []check{
		atMost("p95 queue, ms", fast.QueueMillisP95, 15, link+"shoal-fast"),
		atMost("p95 queue / tcp-cubic's", ratio(fast.QueueMillisP95, cubic.QueueMillisP95), 0.1, link+"tcp-cubic"),
		atMost("p95 queue at ±20 ms, ms", jittery.QueueMillisP95, 35, link+"shoal-fast"+jitter),
	}
}

func judgeScavenger(m *measurer) (checks []check) {
	for _, buffer := range buffers {
		args := fmt.Sprintf("%s--buffer %sbdp --flow tcp-cubic --flow shoal-slow@5s", beside, buffer)
		checks = append(checks, atMost("share beside tcp-cubic, "+buffer+" BDP", m.of(args).flow(1).CapacityShare, 0.05, args))
	}
	for _, buffer := range buffers {
		args := fmt.Sprintf("%s--buffer %sbdp --flow shoal-slow", alone, buffer)
		checks = append(checks, atLeast("share alone, "+buffer+" BDP", m.of(args).flow(0).CapacityShare, 0.95, args))
	}
	return checks
}

func judgeFriendly(m *measurer) (checks []check) {
	for _, buffer := range buffers {
		checks = append(checks, keptBeside(m, "shoal-fast", buffer))
	}
	return checks
}

func judgeGroup(m *measurer) (checks []check) {
	for _, flow := range []string{"shoal-fast*4", "shoal-fast*8"} {
		for _, buffer := range buffers {
			checks = append(checks, keptBeside(m, flow, buffer))
		}
	}
	return checks
}

// keptBeside is what tcp-cubic keeps beside a flow, as a multiple of what it keeps beside its equal.
func keptBeside(m *measurer, flow, buffer string) check {
	link := fmt.Sprintf("%s--buffer %sbdp --flow tcp-cubic --flow ", beside, buffer)
	ours, theirs := m.of(link+flow+"@5s").flow(0), m.of(link+"tcp-cubic@5s").flow(0)
	return atLeast("kept beside "+flow+" / beside tcp-cubic, "+buffer+" BDP",
		ratio(ours.CapacityShare, theirs.CapacityShare), 0.8, link+flow+"@5s")
}

func judgeFairness(m *measurer) (checks []check) {
	const four = " --flow shoal-fast --flow shoal-fast@1s --flow shoal-fast@2s --flow shoal-fast@3s"
	for _, jitter := range []string{"", jitter} {
		for _, buffer := range buffers {
			args := beside + "--buffer " + buffer + "bdp" + jitter + four
			o := m.of(args)
			again := 0.0
			for i := range 4 {
				again = max(again, o.flow(i).RetransmitRatio)
			}
			what := buffer + " BDP" + jitter
			checks = append(checks, atLeast("Jain's index, "+what, o.jain(), 0.95, args), atMost("sent again, "+what, again, 0.02, args))
		}
	}
	return checks
}

func judgeCapacityDrop(m *measurer) []check {
	const link, step = "--rate 20mbit --rtt 40ms --seconds 30 --step 10s:5mbit --flow ", 10 * time.Second
	seconds := func(kind string) float64 { return m.of(link+kind).queueBelow(30, step).Seconds() }
	return []check{atMost("FAST's time / tcp-bbr's", ratio(seconds("shoal-fast"), seconds("tcp-bbr")), 0.5, link+"shoal-fast --json --series")}
}

func judgePolicer(m *measurer) []check {
	const link = "--rate 100mbit --rtt 40ms --policer 20mbit:16kib --seconds 20 --flow "
	fast, bbr := m.of(link+"shoal-fast").flow(0), m.of(link+"tcp-bbr").flow(0)
	return []check{
		atMost("sent again", fast.RetransmitRatio, 0.05, link+"shoal-fast"),
		atMost("sent again / tcp-bbr's", ratio(fast.RetransmitRatio, bbr.RetransmitRatio), 0.5, link+"tcp-bbr"),
	}
}

// tracesUsed are those of a public collection with one format: three of LTE, two
// of WiFi and of 5G, one of a cable, below 150 Mbit/s, which a small machine still carries.
var tracesUsed = []string{
	"mahimahi-gpl3/att_lte_driving.csv", "mahimahi-gpl3/verizon_lte_short.csv", "sabre-bsd2/4g_lte_ghent_bus_0001.csv",
	"lumos-mit/wifi_dl_200518_1908_50Mbps_wifi_weak_bbb_4s_4300Kbps.csv",
	"lumos-mit/wifi_dl_210412_2322_50Mbps_wifi_5GHz_strong_ed_4s_RobustMPC.csv",
	"ucc-5g-gpl3/5g_driving_ie_1.csv", "5gophers-ccby4/5g_driving1_tmobile.csv", "wizardtim-cable-ccby4/cable_au_2018_07.csv",
}

func judgeTraces(m *measurer) []check {
	var shares, queues []float64
	command := ""
	for _, name := range tracesUsed {
		link := "--trace " + filepath.Join(m.traces, name) + onTraces
		fast, bbr := m.of(link+"shoal-fast").flow(0), m.of(link+"tcp-bbr").flow(0)
		shares = append(shares, ratio(fast.CapacityShare, bbr.CapacityShare))
		queues = append(queues, ratio(fast.QueueMillisP95, bbr.QueueMillisP95))
		if slices.Min(shares) == shares[len(shares)-1] {
			command = "--trace " + tracesHere + "/" + name + onTraces + "shoal-fast" // the least favourable one
		}
	}
	return []check{
		atLeast("share / tcp-bbr's", median(shares), 0.95, command),
		atMost("p95 queue / tcp-bbr's", median(queues), 1, command),
	}
}

func judgeTierSwitch(m *measurer) []check {
	const args = beside + "--flow tcp-cubic --flow shoal-fast:slow@15s:fast@30s"
	o := m.of(args)
	return []check{
		atMost("share from 1 to 6 s after the change to SLOW", o.shareIn(1, 16*time.Second, 21*time.Second), 0.1, args+" --json --series"),
		atLeast("share from 3 to 8 s after the change to FAST", o.shareIn(1, 33*time.Second, 38*time.Second), 0.4, args+" --json --series"),
	}
}

// judgeGovernor counts from two seconds after the foreground's start, as everywhere; what
// the governor takes longer than that to notice is part of the figure.
func judgeGovernor(m *measurer) (checks []check) {
	for _, buffer := range []string{"1", "4"} {
		link := "--rate 10mbit --rtt 40ms --seconds 45 --buffer " + buffer + "bdp --flow tcp-cubic@10s"
		both := link + " --flow shoal-upload*4"
		lone, beside := m.of(link).flow(0), m.of(both).flow(0)
		checks = append(checks,
			atLeast("kept beside them / alone, "+buffer+" BDP", ratio(beside.GoodputMbps, lone.GoodputMbps), 0.95, both),
			atMost("rise of the p95 RTT, "+buffer+" BDP, ms", beside.RTTMillisP95-lone.RTTMillisP95, 15, both))
	}
	return checks
}

func judgeWindow(m *measurer) []check {
	ours, theirs := m.of(windowLink+"shoal-fast").flow(0), m.of(windowLink+"tcp-cubic").flow(0)
	return []check{atMost("FAST's / tcp-cubic's", ratio(ours.WindowBytesCV, theirs.WindowBytesCV), 0.5, windowLink+"shoal-fast")}
}

// ratio of two figures that are never negative. Nothing against nothing is as
// good as equal; something against nothing is as bad as a thousand times.
func ratio(a, b float64) float64 {
	switch {
	case b > 0:
		return a / b
	case a > 0:
		return 1000
	default:
		return 1
	}
}

func (o outcome) jain() float64 {
	if o.r == nil {
		return 0
	}
	return o.r.Jain
}

// shareIn is a flow's share of the capacity between two moments.
func (o outcome) shareIn(flow int, from, to time.Duration) float64 {
	f := o.flow(flow)
	if f.GoodputMbps == 0 {
		return 0
	}
	sum, n := 0.0, 0.0
	for _, p := range f.Goodput {
		if p[0] >= from.Seconds() && p[0] < to.Seconds() {
			sum, n = sum+p[1], n+1
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n * f.CapacityShare / f.GoodputMbps
}

// queueBelow is how long after a moment the queue is shorter than so many
// milliseconds for half a second; the rest of the run if it never is.
func (o outcome) queueBelow(millis float64, after time.Duration) time.Duration {
	const lasting = int(500 * time.Millisecond / binOf)
	if o.r == nil {
		return 0
	}
	quiet := 0
	for i := int(after / binOf); i < len(o.r.Queue); i++ {
		if quiet++; o.r.Queue[i][1] >= millis {
			quiet = 0
		}
		if quiet == lasting {
			return max(time.Duration(i+1-lasting)*binOf-after, binOf)
		}
	}
	return time.Duration(len(o.r.Queue))*binOf - after
}
