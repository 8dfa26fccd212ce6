package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
)

func TestDataOverheadIsWithinBounds(t *testing.T) {
	for _, tt := range []struct {
		listen  string
		ipBytes int
		most    float64 // of the bytes of IP packets
	}{
		{"127.0.0.1:0", ipv4UDPBytes, 0.06},
		{"[::1]:0", ipv6UDPBytes, 0.075},
	} {
		t.Run(tt.listen, func(t *testing.T) {
			seed, leech := pair(t, Config{Listen: tt.listen})
			payload := randomBytes(wire.ChunkBytes)
			seed.channel.SendData(time.Now(), Chunk{Handle: 1, Piece: 2, Chunk: 3}, payload)
			seed.channel.Flush()
			var datagram []byte
			for datagram == nil {
				b := <-leech.inbox
				for _, p := range b.Packets {
					if kind, _, ok := leech.channel.Header(p.Data); ok && kind == wire.KindData {
						datagram = append(datagram, p.Data...)
					}
				}
				b.Release()
			}
			onTheWire := len(datagram) + tt.ipBytes
			require.LessOrEqual(t, float64(onTheWire-len(payload))/float64(onTheWire), tt.most)
		})
	}
}
