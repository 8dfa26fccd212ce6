package transport

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"shoal/cc"
	"shoal/internal/wire"
)

// Bounds of an endpoint.
const (
	// DefaultMaxSessions is far above the hundred or so peers of a busy
	// engine; at 60 KiB for an idle QUIC connection it bounds memory at 240 MiB
	// when somebody fills it on purpose.
	DefaultMaxSessions = 4096

	// maxHandshakes in progress: one at a time takes about 1 ms of a core and
	// a round trip, so 64 admit hundreds of peers a second. From
	// retryHandshakes on, addresses are validated by Retry first (RFC 9000 §8.1.2).
	maxHandshakes   = 64
	retryHandshakes = 16

	// maxAccepted sessions wait for Accept.
	maxAccepted = 64

	handshakeTimeout = 5 * time.Second
	keepAlivePeriod  = 15 * time.Second // below the 30 s that most NATs keep a UDP mapping (RFC 4787 REQ-5 asks for 2 min)
	idleTimeout      = 30 * time.Second
)

// Config says how an [Endpoint] is to be. Only Identity is required.
type Config struct {
	// Listen is "host:port". An empty host or string means all addresses, IPv4
	// and IPv6 where the system has both; port 0 means any.
	Listen string
	// Identity proves to the other side who we are.
	Identity Identity
	// ALPN names the protocols of incoming sessions; empty: dial only.
	ALPN []string
	// Logger receives what is worth knowing; default: nothing.
	Logger *slog.Logger
	// NewController makes the congestion controller of a channel. Default: a
	// [cc.Tiered]; those of one inbox form a [cc.Group].
	NewController func(now time.Time) cc.Controller
	// Uploads bounds, by ALPN, what all channels of an inbox send together; it
	// belongs to the inbox's reader, as they do. Default: no bound.
	Uploads map[string]*cc.UploadGovernor
	// DisableOffload turns UDP segmentation offload (GSO, GRO) off. Linux 7.0
	// to 7.1.4 corrupt such batches, which shows as loss that vanishes with this.
	DisableOffload bool
	// Certificate replaces the identity's certificate for incoming sessions:
	// a tracker with a name has one that the system roots confirm.
	Certificate *tls.Certificate
	// MaxSessions bounds the sessions alive; default DefaultMaxSessions.
	MaxSessions int

	portable bool          // tests: the portable socket, on every system
	idle     time.Duration // tests: another idleTimeout
}

// Verify says whom a dialer expects. At most one of ID and ServerName is set;
// the zero value accepts any peer, whose ID is then known from the session.
type Verify struct {
	// ID is the expected peer, or the fingerprint of a pinned certificate key
	// (see [FingerprintOf]; for an Ed25519 key both are the same).
	ID wire.PeerID
	// ServerName is to be confirmed by Roots.
	ServerName string
	// Roots confirm ServerName; default: those of the system.
	Roots *x509.CertPool
}

// DialConfig says whom to dial and how.
type DialConfig struct {
	ALPN string
	// Addrs are tried together, each a little after the one before (RFC 8305);
	// at most 8 of them.
	Addrs  []netip.AddrPort
	Verify Verify
}

// Stats counts since the endpoint began.
type Stats struct {
	PacketsIn, PacketsOut uint64 // datagrams, QUIC included
	BytesIn, BytesOut     uint64 // UDP payload

	DroppedGarbage     uint64 // neither QUIC nor a sealed datagram, or a malformed one
	DroppedUnknown     uint64 // sealed for a receiver index that nobody has
	DroppedForged      uint64 // did not open with the session's key
	DroppedReplayed    uint64 // packet number seen before or too old
	DroppedOversize    uint64 // longer than anything we accept
	DroppedInboxFull   uint64 // the inbox's reader was too slow
	DroppedQUICFull    uint64 // quic-go was too slow
	DroppedKernel      uint64 // the socket's receive buffer was full
	RefusedSessions    uint64 // too many handshakes or sessions
	SendErrors         uint64 // datagrams that the system refused to send
	PathsMoved         uint64
	Sessions           int
	HandshakesNow      int
	OffloadSend        bool // UDP segmentation offload is in use
	OffloadReceive     bool
	ReceiveBufferBytes int
	SendSystemCalls    uint64
	ReceiveSystemCalls uint64
}
