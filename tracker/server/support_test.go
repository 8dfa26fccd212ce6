package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/tracker/server"
)

// metric reads one sample of /metrics; name is a regular expression.
func metric(t *testing.T, s *server.Server, name string) int {
	t.Helper()
	_, text := get(t, s, "/metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	require.NotNil(t, found, "%s in\n%s", name, text)
	value, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	return int(value)
}

// steadyAddr is a UDP address on which nobody listens. Its port is below those
// that systems give to whoever names none, so that it stays free for a tracker
// that comes late, or comes back.
func steadyAddr(t *testing.T) string {
	t.Helper()
	const firstPort, lastPort = 20000, 32767
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		if conn, err := net.ListenPacket("udp", addr); err == nil {
			require.NoError(t, conn.Close())
			return addr
		}
	}
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
