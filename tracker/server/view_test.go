package server

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
	"shoal/tracker"
)

func TestSentenceSaysWhatGoesOn(t *testing.T) {
	for want, o := range map[string]struct {
		joined, peers, watching, titles int
		p2p, cdn                        uint64
	}{
		"Nobody is here yet. Give peers this tracker's URL: shoal peer --tracker URL.":                          {},
		"Nobody is here just now. So far, 72 % of all bytes came from each other.":                              {joined: 4, p2p: 72, cdn: 28},
		"1 peer is here and watches nothing yet. No bytes have been reported.":                                  {joined: 1, peers: 1},
		"2 peers are here and watch nothing yet. So far, all bytes came from the CDN.":                          {joined: 2, peers: 2, cdn: 5},
		"1 viewer watches 1 title; no bytes have been reported yet.":                                            {joined: 1, peers: 1, watching: 1, titles: 1},
		"1 viewer watches 1 title; all bytes came from the CDN.":                                                {joined: 1, peers: 1, watching: 1, titles: 1, cdn: 5},
		"4 viewers watch 1 title; 72 % of all bytes came from each other.":                                      {joined: 4, peers: 4, watching: 4, titles: 1, p2p: 72, cdn: 28},
		"4 viewers watch 2 titles; more than 99 % of all bytes came from each other.":                           {joined: 4, peers: 3, watching: 4, titles: 2, p2p: 9999, cdn: 1},
		"4 viewers watch 3 titles; less than 1 % of all bytes came from each other.":                            {joined: 4, peers: 3, watching: 4, titles: 3, p2p: 1, cdn: 9999},
		"Nobody watches just now; 3 peers keep 1 title ready. So far, 100 % of all bytes came from each other.": {joined: 3, peers: 3, titles: 1, p2p: 5},
		"Nobody watches just now; 1 peer keeps 2 titles ready. No bytes have been reported.":                    {joined: 3, peers: 1, titles: 2},
	} {
		st := tracker.Stats{Peers: o.peers, Joined: uint64(o.joined), Watching: o.watching}
		st.Totals[wire.CounterP2P], st.Totals[wire.CounterCDN] = o.p2p, o.cdn
		require.Equal(t, want, sentence(tracker.Overview{Stats: st, TitleSum: o.titles}))
	}
}

func TestSmallGroupsBecomeOne(t *testing.T) {
	counts := map[string]int{}
	for i := range 30 {
		counts[fmt.Sprintf("net %02d", i)] = 30 - i
	}
	got := groups(counts)
	require.Len(t, got, groupsMax)
	require.Equal(t, Group{Name: "net 00", Peers: 30}, got[0])
	require.Equal(t, "19 others", got[groupsMax-1].Name)
	total := 0
	for _, g := range got {
		total += g.Peers
	}
	require.Equal(t, 30*31/2, total)
}
