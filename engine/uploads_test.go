package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSentByInterfacesLeavesLoopbackOut(t *testing.T) {
	total, ok := parseSent([]byte(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9000 9 0 0 0 0 0 0 9000 9 0 0 0 0 0 0
  eth0: 1 2 0 0 0 0 0 0 500 4 0 0 0 0 0 0
 wlan0:1 2 0 0 0 0 0 0 70 4 0 0 0 0 0 0
  bad0: 1 2 x
`))
	require.True(t, ok)
	require.EqualValues(t, 570, total)
	_, ok = parseSent([]byte("nothing of the kind"))
	require.False(t, ok)
}
