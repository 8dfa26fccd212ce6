package store_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/internal/wire"
	"shoal/tracker/store"
	"shoal/tracker/store/storetest"
)

func TestMemoryConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

// The memory store against the plainest model of it: a map.
func TestMemoryEqualsAMapOfPresences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			title store.TitleID
			peer  wire.PeerID
		}
		s, model := store.NewMemory(), map[key]store.Presence{}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		rng := rand.New(rand.NewPCG(1, 2))
		title := rapid.Map(rapid.IntRange(0, 2), func(i int) store.TitleID { return store.TitleID{byte(i)} })
		peer := rapid.Map(rapid.IntRange(0, 30), func(i int) wire.PeerID { return wire.PeerID{byte(i)} })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key{title.Draw(t, "title"), peer.Draw(t, "peer")}
				p := store.Presence{
					Peer: k.peer, Title: k.title, Seen: now,
					Position: time.Duration(rapid.IntRange(0, 600).Draw(t, "position")) * time.Second,
				}
				require.NoError(t, s.Put(&p))
				model[k] = p
			},
			"remove": func(t *rapid.T) {
				k := key{title.Draw(t, "title"), peer.Draw(t, "peer")}
				require.NoError(t, s.Remove(k.title, k.peer))
				delete(model, k)
			},
			"expire": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
				before, want := now.Add(-time.Minute), 0
				for k, p := range model {
					if p.Seen.Before(before) {
						delete(model, k)
						want++
					}
				}
				got, err := s.Expire(before)
				require.NoError(t, err)
				require.Equal(t, want, got)
			},
			"": func(t *rapid.T) {
				_, _, presences, err := s.Titles(10)
				require.NoError(t, err)
				require.Equal(t, len(model), presences)
				for i := range 3 {
					id, want := store.TitleID{byte(i)}, 0
					for k := range model {
						if k.title == id {
							want++
						}
					}
					n, err := s.Size(id)
					require.NoError(t, err)
					require.Equal(t, want, n)
					got, err := s.Sample(nil, rng, id, time.Minute, 8)
					require.NoError(t, err)
					require.Len(t, got, min(want, 8))
					seen := map[wire.PeerID]bool{}
					for _, p := range got {
						require.False(t, seen[p.Peer])
						seen[p.Peer] = true
						require.Equal(t, model[key{id, p.Peer}], *p)
					}
				}
			},
		})
	})
}
