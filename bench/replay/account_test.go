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

// What peers sent in vain does not make them nearer.
func TestOnlyWhatIsPlayedIsNear(t *testing.T) {
	var a account
	shown, left := played{seg: 1}, played{seg: 2}
	here, far := nearness{isp: true, region: true, country: true}, nearness{country: true}
	for seg, near := range map[played]nearness{shown: far, left: here} {
		a.open(seg).from.add(near.bytes(300))
	}
	a.open(shown).from.add(here.bytes(100)) // a quarter
	a.got(shown, 200, [reasonCount]int64{reasonRescue: 100})
	a.got(left, 300, [reasonCount]int64{})
	a.shown(0, shown, 300, time.Second)
	require.Equal(t, nearBytes{all: 200, isp: 50, region: 50, country: 200}, a.near)
}
