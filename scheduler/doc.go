// Package scheduler orders piece requests by playout deadline.
//
// It holds two queues. The ready queue has the pieces that are needed and not
// begun, the active queue those being downloaded, of bounded size; both are
// ordered by deadline. The active queue is finished before new pieces enter:
// when a seed stalls, its missing chunks go to the others at once instead of
// opening yet another piece. Beside the queues stand the ranking of seeds, the
// schedulability test that decides when the CDN must step in (Rescue), the rule
// for who brings new pieces into the swarm (FirstCopies), and the division of this
// node's downlink among those who send (Caps).
//
// A Scheduler reads no clock and starts no goroutine. It is not safe for
// concurrent use; its owner (engine/swarm) serializes calls. It knows pieces,
// masks of chunks and small seed numbers, and neither payload nor addresses.
//
// The idea of two queues ordered by distance from the playhead, of freezing
// busy seeds and of leaving the CDN as late as possible is Tencent Video's
// (LiveVideoStackCon 2019, "raising the P2P bandwidth saving ratio").
package scheduler
