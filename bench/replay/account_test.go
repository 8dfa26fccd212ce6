package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A cache that is too small loses what was not shown yet, and it comes again.
func TestWhatCameTwiceIsShownOnce(t *testing.T) {
	var a account
	var seg played
	a.got(seg, 200, [reasonCount]int64{reasonStartup: 100})
	a.got(seg, 0, [reasonCount]int64{reasonRescue: 250})
	a.shown(0, seg, 400, time.Second)
	require.Equal(t, [reasonCount]int64{reasonStartup: 100, reasonRescue: 250}, a.cdn)
	require.Equal(t, int64(50), a.p2p)
	require.Zero(t, a.cache)
}
