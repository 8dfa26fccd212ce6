package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/bench/emulator"
	"shoal/internal/wire"
)

// counting are samples of an end whose counters rise evenly, by so many bytes a
// second, from a start on.
func counting(start, length time.Duration, useful, sent, again float64) (samples []sample) {
	for at := start; at <= length; at += sampleEvery {
		t := (at - start).Seconds()
		samples = append(samples, sample{
			AtSeconds: at.Seconds(), UsefulBytes: int64(useful * t), SentBytes: int64(sent * t), AgainBytes: int64(again * t),
			WindowBytes: 100_000 + 20_000*(len(samples)%2), RTTMillis: 50,
		})
	}
	return samples
}

func TestFiguresAreOfTheTimeWhenAllFlowsRun(t *testing.T) {
	o, err := parseRun(strings.Fields("--rate 20mbit --seconds 10 --flow shoal-cubic --flow tcp-cubic@4s --seed 3"), io.Discard)
	require.NoError(t, err)
	s := &o.scenario
	const share = 10 * mbit
	ours, theirs := share*float64(wire.ChunkBytes)/(wire.DataDatagramBytes+28), share*1448.0/1500
	ends := []report{
		{Samples: counting(0, s.Length, 0, ours*1.25, ours*0.25)}, // the seed
		{Samples: counting(0, s.Length, ours, 0, 0)},              // the leech
		{Samples: counting(4*time.Second, s.Length, theirs, theirs, 0)},
		{},
	}
	var passages []passage
	for at := time.Duration(0); at < s.Length; at += 10 * time.Millisecond {
		late := at >= 6*time.Second
		fate, queued := emulator.Delivered, 10*time.Millisecond
		if !late {
			fate, queued = emulator.Lost, 90*time.Millisecond // before the measurement
		} else if (at/(10*time.Millisecond))%10 == 0 {
			fate, queued = emulator.QueueFull, 0
		}
		passages = append(passages, passage{at: at, queued: queued, flow: 1, fate: fate})
	}
	r := s.evaluate(ends, passages)
	require.InDelta(t, 6, r.FromSeconds, 0)
	require.InDelta(t, 20, r.CapacityMbps, 1e-9)
	require.InDelta(t, 0.5, r.Flows[0].CapacityShare, 0.001)
	require.InDelta(t, 0.5, r.Flows[1].CapacityShare, 0.001)
	require.InDelta(t, ours/mbit, r.Flows[0].GoodputMbps, 0.01)
	require.InDelta(t, 0.2, r.Flows[0].RetransmitRatio, 0.001)
	require.InDelta(t, 1, r.Jain, 0.001)
	require.InDelta(t, 0.1, r.Flows[1].LossRatio, 0.001)
	require.Zero(t, r.Flows[0].LossRatio)
	require.InDelta(t, 10, r.Flows[1].QueueMillisP95, 0)
	require.InDelta(t, 50, r.Flows[0].RTTMillisP50, 0)
	require.InDelta(t, 10_000.0/110_000, r.Flows[0].WindowBytesCV, 0.001)
	require.InDelta(t, 90, r.Queue[0][1], 0, "what happened over time includes the beginning")
}

func TestResultIsOneObject(t *testing.T) {
	o, err := parseRun(strings.Fields("--rate 20mbit --seconds 5 --flow shoal-cubic"), io.Discard)
	require.NoError(t, err)
	r := o.scenario.evaluate([]report{{Samples: counting(0, 5*time.Second, 1, 1, 0)}, {Samples: counting(0, 5*time.Second, 1, 0, 0)}}, nil)
	keys := func(v any) (names []string) {
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(encoded, &object))
		for name := range object {
			names = append(names, name)
		}
		return names
	}
	flow := []string{
		"flow", "goodput_mbps", "capacity_share", "retransmit_ratio", "loss_ratio", "rtt_ms_p50", "rtt_ms_p95", "queue_ms_p50", "queue_ms_p95", "window_bytes_cv",
	}
	whole := []string{"flows", "jain", "capacity_mbps", "seed", "late_ms_p95", "stolen_ratio", "measured_from_s", "measured_to_s"}
	require.ElementsMatch(t, flow, keys(r.withoutSeries().Flows[0]))
	require.ElementsMatch(t, whole, keys(r.withoutSeries()))
	require.ElementsMatch(t, append(flow, "goodput_mbps_series", "payload_bytes_series", "window_bytes_series", "rtt_ms_series"), keys(r.Flows[0]))
	require.ElementsMatch(t, append(whole, "queue_ms"), keys(r))
	var text bytes.Buffer
	require.NoError(t, r.print(&text))
	require.Contains(t, text.String(), "shoal-cubic")
}

func TestPacketsAreToldApartByPort(t *testing.T) {
	packet := func(protocol byte, port uint16) []byte {
		p := make([]byte, 28)
		p[0], p[9] = 0x45, protocol
		p[22], p[23] = byte(port>>8), byte(port)
		return p
	}
	require.Equal(t, 3, flowOf(packet(6, portFirst+3)))
	require.Equal(t, 0, flowOf(packet(17, portFirst)))
	require.Negative(t, flowOf(packet(1, portFirst)), "ICMP")
	require.Negative(t, flowOf(packet(17, 53)))
	require.Negative(t, flowOf(packet(6, portFirst)[:21]), "cut")

	w := watcher{flows: 1}
	w.observe(setUp-1, packet(17, portFirst), emulator.Delivered, 0)
	w.observe(setUp+5, packet(17, portFirst+1), emulator.Delivered, 0)
	w.observe(setUp+7, packet(17, portFirst), emulator.Lost, 9)
	require.Equal(t, []passage{{at: 7, queued: 9, fate: emulator.Lost}}, w.passages)
}
