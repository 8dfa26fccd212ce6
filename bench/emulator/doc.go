// Package emulator puts programs on one Linux machine behind emulated access
// lines: each host is a network namespace with a TUN device, and what the
// devices send passes through queues, rates, delays and losses in user space.
//
// # What it is
//
// A Line is one direction of a link: a token-bucket policer, a drop-tail queue,
// a rate that is constant or follows a trace, random or bursty loss on the wire,
// a delay, and jitter. The directions of a link are independent. Packets are
// those of the kernel: its TCP, with whatever congestion control, and any
// program's UDP run over it unchanged.
//
// Two topologies: NewBottleneck joins two hosts by one link, which all flows
// between them share; NewStar joins any number of hosts, each behind a link of
// its own, so that a packet from A to B passes A's uplink and then B's downlink.
//
// # What it is not
//
// It emulates neither IPv6 nor NATs, and no active queue management; the kernel
// has those. A Line is exact to the nanosecond, but a packet is handed over when
// the machine gets to it: expect some tenths of a millisecond more, and on a
// machine that is short of processor time, more than that. LineStats.Late tells.
//
// The loop's thread is served before all other programs. It still may wait for
// the Go runtime: a process that does much else beside an emulator should have
// more processors in its runtime than the machine has (runtime.GOMAXPROCS), so
// that the loop finds a free one.
//
// # Namespaces
//
// The namespaces have no names. Each belongs to a thread of this process and to
// the programs started in it, and the kernel removes it with the last of them,
// however they end; so a crash, too, leaves nothing behind. A program is started
// by a thread that entered the namespace before (setns is not needed, nor is
// "ip netns exec"), and is killed when that thread ends. To look into one,
// use nsenter --net --target PID.
//
// Root is needed, or CAP_SYS_ADMIN and CAP_NET_ADMIN, and /dev/net/tun.
//
// # Use
//
// A Network may be used from any goroutine. It owns one thread that carries all
// packets, and one per host; Close ends them all.
//
// The shaper is the whole of a line's logic. It reads no clock and does no I/O;
// its randomness comes from the seed, one source per line, so the same packets at
// the same times meet the same fate.
package emulator
