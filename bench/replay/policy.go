package replay

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"shoal/tracker"
)

// policy decides for one peer: whom to ask, when to go to the CDN, what to send
// next. All else (player, lines, tracker, accounts) is the same for every policy.
// A policy acts through its peer: fetch, cancelFetch, dial, send, got.
type policy interface {
	want(seg int)         // the player asks for a segment
	done(seg int)         // it has all of it
	second(watching bool) // a second has passed
	jumped()              // the playhead is elsewhere now
	viewerGone()          // nobody watches any more; the node lingers
	grown(segments int)   // so many segments are known now

	candidates(tracker.Answer) // of the tracker
	connected(*conn) bool      // a session stands; false refuses it
	refused(*conn)             // a dial failed
	lost(*conn)                // a session is over
	message(*end, *conn, any)  // from another peer's policy

	burst(a *inbound)                            // chunks from a seed, numbered as that seed's serve did
	fetched(f *fetch, piece uint32, mask uint64) // chunks from the CDN
	fetchDone(f *fetch)
	stored(piece uint32)  // hashed and kept
	evicted(piece uint32) // no longer kept
	end()                 // the node is about to end: book what is left

	serve() (burst, bool)   // what the uplink sends next
	advance() time.Duration // does what is due; when to call again
}

// burst is what an uplink carries at once.
type burst struct {
	c     *conn
	piece uint32
	mask  uint64 // at most 16 chunks, and what mayServe allowed
}

// policies by name, in the order in which they are listed.
var policies = []struct {
	name string
	make func(*peer) policy
}{
	{"shoal", newShoal},
	{"cdn-only", newCDNOnly},
	{"whole-segment", newWholeSegment},
	{"rarest-first", newRarestFirst},
	{"sequential", newSequential},
}

// Policies are the names that Config.Policies may have.
func Policies() []string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.name
	}
	return names
}

// CheckPolicy tells what is wrong with a policy's name.
func CheckPolicy(name string) error {
	_, err := policyByName(name)
	return err
}

func policyByName(name string) (func(*peer) policy, error) {
	i := slices.IndexFunc(Policies(), func(n string) bool { return n == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown policy %q: choose from %s", name, strings.Join(Policies(), ", "))
	}
	return policies[i].make, nil
}
