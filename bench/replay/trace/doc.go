// Package trace reads and writes what a replay runs on: sessions, network
// traces, RTT matrices and profiles. docs/replay.md describes the formats.
//
// Sessions are read as a stream, one row in memory at a time; the other inputs
// are held whole, and each has a named limit. Nothing here plays anything: what
// a session's numbers lead to is decided by the replay. Importers of public
// formats are in package shoal/bench/replay/trace/convert.
//
// The package starts no goroutine, reads no clock and has no randomness of its
// own: callers pass a seeded *rand.Rand. No type is safe for concurrent use
// while it changes; a Network, Matrix or Profile that has been read does not
// change any more and may be shared.
package trace
