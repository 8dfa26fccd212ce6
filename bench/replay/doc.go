// Package replay runs thousands of viewers through the decision code that ships,
// on a virtual clock, and counts what that would have cost and saved.
//
// # What is real
//
// A peer of policy "shoal" is a swarm.Core, the same code as in a live node: its
// requests, masks, control messages, announcements and CDN fetches are those
// that the core emits, and its inputs come at the moments at which the live
// shell (package engine and its proxy) gives them. The tracker is tracker.State
// with its memory store. Payload does not exist: bursts carry masks.
//
// # What is modelled
//
//   - Time is a queue of events per swarm, keyed by time and sequence. Swarms are
//     titles; they share nothing, so they run in parallel.
//   - An access line is an uplink and a downlink, each at the line's present rate
//     (a recorded network trace, or a constant), carrying bursts of at most
//     16 KiB. There is no global max-min recomputation and no packet.
//   - The uplink is a drop-tail queue of Config.UplinkQueue, and all that a node
//     sends passes it in the order in which it is sent: bursts, requests, control
//     messages, handshakes, GETs, and acknowledgements, of peers and of TCP. What
//     finds no room is lost: chunks of bursts and requests for good, what a
//     transport sends again after its time-out. So a node's uploads delay its own
//     requests, and what it downloads waits for its acknowledgements.
//   - What fills that queue is what fills it in a live node: each session sends
//     within the window of cc.Tiered, at its pace, in the tier that the core names
//     with each burst; a node's sessions are a cc.Group. Those of other policies
//     follow cc.Cubic. Round trips, back-offs and late windows follow from the
//     queues at both ends.
//   - The unit is the burst, at most 16 KiB and 8 ms of the uplink: longer ones
//     would look like queues to the other sessions. Of a session's first 128 chunks
//     it has at most four. A burst's sample is that of
//     its packets, had they been paced: its round trip leaves out what the line
//     needs from its first packet to its last, and what the receiver held back.
//     What becomes of it is known at once, and less than half a burst of room in
//     a window waits for more. A session that is silent for ten seconds forgets
//     its path. The core hears of round trips and losses every second.
//   - A receiver answers as the live transport does: to each packet that comes
//     alone, to several where they come close together, to two of the first 128.
//     A frame on a stream is answered, too.
//   - The downlink shares itself between its flows, one per seed and one for the
//     CDN, by start-time fair queueing (Goyal, Vin, Cheng 1996); nothing is lost in
//     it. Tiers differ at the sender, and nowhere else: cc.Tiered there divides a
//     bottleneck as it does between real flows (go run ./bench/link calibrate).
//   - The CDN's connections start with ten packets and double per round trip, in
//     which the client's uplink queue counts, until the delay rises (HyStart);
//     then they gain a packet per round trip. After a pause they start again. One
//     connection serves all requests, or (CDNHTTP1) each has one.
//   - Path loss takes single chunks out of bursts.
//   - A round trip between peers is the sum of both access lines' and of the way
//     between: from an RTT matrix when there is one, else by region.
//   - NATs: a pair of which neither side can open a path to the other never
//     connects; its dials time out. There are no relays yet, so relay bytes are 0.
//   - The CDN is one server per client: a round trip and a think time until the
//     first byte, then a rate, divided between the client's requests.
//   - The tracker answers after a round trip. Announces are sent every 20 s and
//     when the engine kicks its client, at most two a second.
//   - A player loads segments one by one, starts at StartBuffer, holds MaxBuffer,
//     stalls when it runs dry, and reports with CMCD when it asks. It appends
//     whole segments, or progressively. Between arrival and the first segment
//     lie Config.OpenRoundTrips to the CDN.
//   - A title's pieces are numbered through, segments begin at
//     piece borders and have the bitrate's size on average. A film's files are
//     chapters of about ten minutes. A live title has a file for each segment,
//     which becomes known as it is published, before the player may ask for it.
//   - A viewer leaves at a wall time that the trace gives, watching or not, then
//     may linger as a seed, and leaves with or without a goodbye.
//   - Messages come after half a round trip and wait for their reader's loop.
//     Announcements of single pieces do not wake it: they wait for its next round
//     of scheduling (at most 50 ms while it needs anything).
//   - A node's loop runs when an input comes, but not more often than every
//     loopGrain: what comes meanwhile waits for it. Lines and ACKs go by when it came.
//   - Hashing and storing a piece take storeDelay. The cache drops what the
//     core gives up, else what lies farthest behind the playhead.
//
// # What is not modelled
//
// Packets, cross traffic, Wi-Fi, disks, the bytes of the manifest and of piece
// hashes, polluters, an origin that fails, and relays, which the live node does
// not have either. Sessions that do not adapt stay on the rendition that their
// trace says, whether their line carries it or not.
//
// # Use
//
// Run may be called from any goroutine; it starts as many as Config.Workers and
// waits for them. Everything else here belongs to one of them at a time. The
// same sessions, Config and seed give the same digest on any number of cores.
package replay
