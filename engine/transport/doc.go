// Package transport carries everything that shoal sends to other peers and to
// its tracker over one UDP socket: a QUIC connection per session for control,
// and sealed datagrams, keyed from that connection, for data.
//
// An [Endpoint] owns the socket. Its reader goroutine tells datagrams apart by
// their first byte: QUIC (64..127, 192..255) goes to quic-go through
// a net.PacketConn of ours, sealed datagrams (32..63) go by receiver index to
// the inbox of their session's ALPN, in batches; the rest is counted and
// dropped. A [Session] is one authenticated peer. Its [Channel] is the data
// plane: it seals and opens datagrams, acknowledges, paces and validates paths.
//
// The package decides nothing about content: what to ask of whom, whom to
// serve and what was lost are the business of its caller. It never sends DATA
// again.
//
// Endpoint and Session are safe for concurrent use. A Channel and what an
// inbox delivers belong to one goroutine, the one that reads that inbox. No
// goroutine of this package outlives [Endpoint.Close].
//
// # Virtual addresses
//
// QUIC is given virtual addresses. The one of a session keeps its name for
// life, while the path behind it moves: an authenticated datagram from another
// address is answered with a PING to it, and only the PONG moves the path. Until
// then nothing but that PING and answers of at most the same size go there, so
// a forged source address never gets more bytes from us than were sent in its
// name; QUIC keeps its own limit of three times (RFC 9000 §8.1).
package transport
