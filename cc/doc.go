// Package cc decides how fast one channel may send, and learns from
// acknowledgements what became of what it sent.
//
// A channel is the stream of sealed datagrams from one peer to another. Its
// sender owns one Recovery, and reports to it every packet it sends and every
// ACK it receives:
//
//   - Recovery is the account of packets in flight. It checks ACKs (a peer that
//     acknowledges what was never sent is a liar), measures round trips
//     (RFC 9002 §5) and the delivery rate
//     (draft-cheng-iccrg-delivery-rate-estimation), and declares losses by
//     packet and time threshold (RFC 9002 §6.1), persistent congestion (§7.6),
//     and losses that turn out to be spurious.
//   - A Controller, told of all that, sets window and pacing rate. Tiered is the
//     one of peers: as aggressive as its data is urgent, and several of one
//     uplink form a Group. Cubic (RFC 9438, with HyStart++, RFC 9406) is what
//     everybody else has, to compare with.
//   - A Pacer spreads what the window allows over time (RFC 9002 §7.7).
//
// A sender's loop is
//
//	for r.Budget(now) is enough for a packet { send it; r.Sent(now, number, bytes) }
//	wait for an ACK, r.NextSend(now) if there is more to send, or r.Next()
//	an ACK came:  r.Ack(now, ranges, delay)
//	time is up:   r.Advance(now)
//
// and sends a PING when a Result asks for a probe.
//
// Nothing is ever sent again by this package, nor does it know what a packet
// contained: a lost packet frees its bytes in flight and tells the Controller.
// Asking again for what is missing is the leech's scheduler's part.
//
// The package is core code: it reads no clock, starts no goroutine, takes no
// lock and allocates nothing per packet. Time comes in as now, and a now that
// runs backwards counts as standing still. Nothing here is safe for concurrent
// use; the goroutine that owns the channel serializes the calls.
package cc
