package cc

import "time"

const (
	// PacketBytes is the segment size that windows are counted in: a full DATA
	// datagram on the wire, 1,087 bytes on IPv4 and 1,107 on IPv6. The larger
	// one is used, so that a window of n segments always holds n datagrams.
	PacketBytes = 1108

	// InitialWindowBytes is ten segments (RFC 6928 §2, RFC 9002 §7.2).
	InitialWindowBytes = 10 * PacketBytes

	// MinWindowBytes is two segments (RFC 9002 §7.2).
	MinWindowBytes = 2 * PacketBytes

	// MaxWindowBytes is what the largest ring of sent packets can account for:
	// 36 MB, which is 2.9 Gbit/s over a round trip of 100 ms.
	MaxWindowBytes = maxTrackedPackets * PacketBytes
)

// A Controller decides how many bytes one channel may have in flight and how
// fast they leave. Recovery tells it what happened to packets; it never asks
// for anything else, and reads no clock but the now that it is given.
//
// The interface holds only what every algorithm needs. What one algorithm
// needs beside that (a tier, an ECN count, a group of channels behind one
// access link) is a method of its own type or another field of Sample and Loss.
//
// A Controller belongs to one Recovery and is not safe for concurrent use.
type Controller interface {
	// Sent reports one packet of the given size; inFlight includes it.
	// inFlight == bytes therefore tells that the channel had been idle.
	Sent(now time.Time, bytes, inFlight int)
	// Acked reports the outcome of one ACK, after Lost for the losses that the
	// same ACK revealed.
	Acked(now time.Time, s Sample)
	// Lost reports packets declared lost at one moment.
	Lost(now time.Time, l Loss)
	// WindowBytes is the congestion window in bytes, at least MinWindowBytes
	// unless an algorithm paces below one packet per round trip.
	WindowBytes() int
	// PacingBytesPerSec is the rate at which to release packets: positive and
	// finite, whatever was reported before.
	PacingBytesPerSec() float64
}

// A Sample is what one ACK taught.
type Sample struct {
	// AckedBytes and AckedPackets count packets acknowledged for the first
	// time by this ACK that had not been declared lost.
	AckedBytes, AckedPackets int
	// LateBytes and LatePackets count packets that had been declared lost and
	// are acknowledged after all: their loss was spurious.
	LateBytes, LatePackets int

	// PriorInFlight and InFlight are the bytes in flight before and after.
	PriorInFlight, InFlight int
	// SentInFlight is the bytes in flight just after the newest packet
	// acknowledged here was sent (it included).
	SentInFlight int
	// SentAt is when the newest packet acknowledged here was sent.
	SentAt time.Time

	// RTT is the round trip measured by this ACK, less the delay that the
	// receiver reports; zero when this ACK gives no measurement.
	RTT time.Duration
	// SmoothedRTT is RFC 9002's smoothed_rtt; zero before the first sample.
	SmoothedRTT time.Duration
	// MinRTT is the least RTT of the last ten seconds; zero before the first.
	MinRTT time.Duration

	// DeliveryRate is the rate in bytes per second at which the path delivered
	// the flight that ends in this ACK; zero when no valid sample exists.
	DeliveryRate float64
	// AppLimited tells that DeliveryRate may be low only because there was
	// nothing to send.
	AppLimited bool
	// WindowLimited tells that window or pacer held the sender back while the
	// acknowledged packets were in flight. Only then may a window grow
	// (RFC 9002 §7.8).
	WindowLimited bool

	// RoundStart marks the first ACK of a round trip, counted by packets: the
	// first that covers a packet sent after the last round had started.
	RoundStart bool
	// CEPackets counts packets that the network marked as having met congestion
	// (ECN), for the first time reported by this ACK.
	CEPackets int

	// Delivered is the number of bytes delivered since the channel began.
	Delivered uint64
}

// A Loss is a set of packets declared lost at one moment.
type Loss struct {
	Bytes, Packets int
	// InFlight is the bytes in flight after their removal.
	InFlight int
	// SentAt is when the newest lost packet was sent: a controller backs off
	// only if that is after its last back-off began (RFC 9002 §7.3.2).
	SentAt time.Time
	// Persistent tells that nothing got through for at least the persistent
	// congestion duration (RFC 9002 §7.6).
	Persistent bool
}
