package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/bench/emulator"
)

func TestUplinkPacketsAreToldApart(t *testing.T) {
	packet := func(protocol byte, payload ...byte) []byte {
		p := append(make([]byte, 28), payload...)
		p[0], p[9] = 0x45, protocol
		return p
	}
	for name, p := range map[string][]byte{
		"data": packet(17, 0x21, 0), "request": packet(17, 0x20), "ack": packet(17, 0x22), "pong": packet(17, 0x26),
		"other sealed": packet(17, 0x30), "quic": packet(17, 0xc0), "tcp": packet(6, 0x21),
	} {
		require.Equal(t, name, kindNames[kindOf(p)])
	}
	require.Equal(t, "quic", kindNames[kindOf(packet(17))], "no payload")
	require.Equal(t, "tcp", kindNames[kindOf(nil)])

	var k kindCount
	k.observe(0, packet(17, 0x21, 1, 2), emulator.Delivered, 0)
	k.observe(0, packet(17, 0x21), emulator.QueueFull, 0)
	require.Equal(t, []carried{{Kind: "data", Packets: 1, Bytes: 31, Dropped: 1}}, k.list())
}

func TestBothWorldsAreShownViewerByViewer(t *testing.T) {
	s := scaleResult{Scale: 1, Homes: []home{{Name: "a", UpKbps: 500}}}
	require.Empty(t, s.byViewer())
	for _, sent := range []int64{1e6, 3e6, 2e6} {
		s.Runs = append(s.Runs, &runResult{Viewers: []viewerResult{{Name: "a", SentBytes: sent, RawP2PBytes: 4e6, DuplicateBytes: 1e6}}})
	}
	s.Replay = []*replayResult{{Viewers: []figures{{Name: "a", SentMB: 7, ReceivedMB: 6}}}}
	row := strings.Fields(strings.Split(s.byViewer(), "\n")[2])
	require.Equal(t, []string{"a", "500", "0.0", "0", "/", "0", "0.00", "/", "0.00", "5.00", "/", "6.00", "1.00", "/", "0.00", "2.00", "/", "7.00"}, row)
}
