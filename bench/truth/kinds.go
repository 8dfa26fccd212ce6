package main

import (
	"sync/atomic"
	"time"

	"shoal/bench/emulator"
	"shoal/internal/wire"
)

// kindNames are what an uplink carries: sealed datagrams by kind, the rest of
// UDP (QUIC: control streams, handshakes, the tracker), and TCP (requests to
// the CDN, and the acknowledgements of what it sends).
var kindNames = [...]string{"request", "data", "ack", "busy", "cancel", "ping", "pong", "other sealed", "quic", "tcp"}

const (
	kindOtherSealed = 7
	kindQUIC        = 8
	kindTCP         = 9
)

// kindCount counts the packets of a line by what they are, and those that the
// queue dropped.
type kindCount struct {
	packets, bytes, dropped [len(kindNames)]atomic.Int64
}

func (k *kindCount) observe(_ time.Duration, packet []byte, fate emulator.Fate, _ time.Duration) {
	i := kindOf(packet)
	if fate != emulator.Delivered {
		k.dropped[i].Add(1)
		return
	}
	k.packets[i].Add(1)
	k.bytes[i].Add(int64(len(packet)))
}

// kindOf tells what an IPv4 packet is.
func kindOf(packet []byte) int {
	const protocolAt, udp, udpHeaderBytes = 9, 17, 8
	if len(packet) <= protocolAt || packet[protocolAt] != udp {
		return kindTCP
	}
	payload := int(packet[0]&0x0f)*4 + udpHeaderBytes
	if len(packet) <= payload || !wire.IsSealed(packet[payload]) {
		return kindQUIC
	}
	return min(int(packet[payload]&wire.MaxKind), kindOtherSealed)
}

// carried is what a line carried of one kind.
type carried struct {
	Kind    string `json:"kind"`
	Packets int64  `json:"packets"`
	Bytes   int64  `json:"bytes"`
	Dropped int64  `json:"dropped_packets"`
}

func (k *kindCount) list() (list []carried) {
	for i, name := range kindNames {
		c := carried{Kind: name, Packets: k.packets[i].Load(), Bytes: k.bytes[i].Load(), Dropped: k.dropped[i].Load()}
		if c.Packets+c.Dropped > 0 {
			list = append(list, c)
		}
	}
	return list
}
