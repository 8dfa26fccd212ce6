// Package swarm decides what a peer does: which pieces it downloads, from which
// seed or from the CDN, what it serves to others, and whom it bans.
//
// A Core reads no clock, opens no socket, starts no goroutine and takes no
// lock; it is not safe for concurrent use, and its owner (the engine's loop, or
// the replay) serializes calls. Time comes in as now, facts as method calls;
// what is to be done is taken out with Drain. Inputs never block and never fail
// on a peer's garbage: it is counted. Payload never enters: the core decides on
// (peer, piece, mask of chunks), while the owner moves the bytes.
//
// The owner's cycle is: call inputs, Advance(now), Drain, do what was drained,
// Reopen paths that may take bytes again, serve with NextServe while channels have
// budget, and come back with new facts or at Next().
package swarm
