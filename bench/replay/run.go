package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Bounds of a run: what a session costs before it is played is about 300 bytes.
const (
	// SessionsMax bounds the sessions of one run: 3 GiB.
	SessionsMax = 10_000_000
	// swarmMax is what a peer's index has room for.
	swarmMax = 1<<24 - 1
)

// ErrNoSessions is returned for an empty input.
var ErrNoSessions = errors.New("no sessions: the trace is empty, or nothing of it lies in the range")

// twinPolicy is what every policy's CDN bytes are compared with.
const twinPolicy = "cdn-only"

// swarmSessions are the sessions of one title that may meet each other.
type swarmSessions struct {
	title    string
	part     int // of a title whose audience was gone in between
	sessions []*Session
	places   []int // in the input
}

// Run plays the sessions under every policy of cfg and returns a Result for
// each, in that order. When ctx ends, it returns what there is, marked partial,
// and no error. meter may be nil.
func Run(ctx context.Context, cfg Config, sessions []Session, meter *Meter) ([]Result, error) {
	cfg = cfg.withDefaults()
	if len(sessions) == 0 {
		return nil, ErrNoSessions
	}
	if len(sessions) > SessionsMax {
		return nil, fmt.Errorf("%d sessions are more than %d: choose some with --max-sessions", len(sessions), SessionsMax)
	}
	if meter == nil {
		meter = new(Meter)
	}
	for _, name := range cfg.Policies {
		if err := CheckPolicy(name); err != nil {
			return nil, err
		}
	}
	if err := checkLadder(cfg.Ladder, sessions); err != nil {
		return nil, err
	}
	names := Runs(cfg)
	swarms := cut(sessions)
	if slices.ContainsFunc(swarms, func(s *swarmSessions) bool { return len(s.sessions) > swarmMax }) {
		return nil, fmt.Errorf("a title has more than %d sessions", swarmMax)
	}
	for _, s := range swarms {
		if _, err := newMedia(cfg, s.title, s.sessions); err != nil {
			return nil, err
		}
	}
	all := play(ctx, cfg, names, swarms, meter)
	results := make([]Result, len(cfg.Policies))
	for i, name := range cfg.Policies {
		at := slices.Index(names, name)
		results[i] = collect(cfg, name, len(sessions), swarms, all[at], all[0])
	}
	return results, nil
}

// checkLadder refuses a ladder that is none.
func checkLadder(ladder []int, sessions []Session) error {
	for i, kbps := range ladder {
		if kbps <= 0 || i > 0 && kbps <= ladder[i-1] {
			return fmt.Errorf("ladder %v: bitrates must rise", ladder)
		}
	}
	if len(ladder) == 0 && slices.ContainsFunc(sessions, func(s Session) bool { return s.Adapts }) {
		return errors.New("a session adapts, and there is no ladder")
	}
	return nil
}

// Runs are the policies under which Run plays every session: those of cfg, and
// the twin.
func Runs(cfg Config) []string {
	names := []string{twinPolicy}
	for _, name := range cfg.withDefaults().Policies {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Overlap tells whether any two sessions of a title are online at the same time.
func Overlap(sessions []Session) bool {
	return slices.ContainsFunc(cut(sessions), func(sw *swarmSessions) bool {
		end := time.Duration(-1)
		for _, s := range sw.sessions {
			if s.Start < end {
				return true
			}
			end = max(end, s.Start+s.online())
		}
		return false
	})
}

// cut divides the sessions into swarms: by title, and where a title has no
// audience for a while.
func cut(sessions []Session) []*swarmSessions {
	order := make([]int, len(sessions))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(sessions[a].Title, sessions[b].Title), cmp.Compare(sessions[a].Start, sessions[b].Start))
	})
	var swarms []*swarmSessions
	var now *swarmSessions
	end := time.Duration(0)
	for _, i := range order {
		s := &sessions[i]
		if now == nil || now.title != s.Title || s.Start > end {
			part := 0
			if now != nil && now.title == s.Title {
				part = now.part + 1
			}
			now = &swarmSessions{title: s.Title, part: part}
			swarms = append(swarms, now)
			end = 0
		}
		now.sessions = append(now.sessions, s)
		now.places = append(now.places, i)
		end = max(end, s.Start+s.online()+idleTimeout)
	}
	return swarms
}

// played is a swarm's outcome, and the bound that belongs to it.
type finished struct {
	outcome
	limit, bytes int64
	done         bool
}

// play runs every swarm under every policy. Which worker takes which job does
// not matter: each world has its own seed, and results have their places.
func play(ctx context.Context, cfg Config, names []string, swarms []*swarmSessions, meter *Meter) [][]finished {
	all := make([][]finished, len(names))
	type job struct{ policy, swarm int }
	var jobs []job
	for i := range names {
		all[i] = make([]finished, len(swarms))
	}
	// The largest swarms first, or one would be left running alone.
	for s := range swarms {
		for i := range names {
			jobs = append(jobs, job{i, s})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int {
		return cmp.Compare(len(swarms[b.swarm].sessions), len(swarms[a.swarm].sessions))
	})
	next := make(chan job)
	var wg sync.WaitGroup
	for range min(cfg.Workers, len(jobs)) {
		wg.Go(func() {
			for j := range next {
				build, err := policyByName(names[j.policy])
				if err != nil {
					panic("BUG: " + err.Error())
				}
				f := finished{done: true}
				f.outcome = newWorld(cfg, build, swarms[j.swarm], meter).run(ctx, swarms[j.swarm])
				f.bytes = f.jobs.bytes
				f.limit = f.jobs.limit()
				all[j.policy][j.swarm] = f
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		next <- j
	}
	close(next)
	wg.Wait()
	return all
}

// collect merges the swarms of a policy, in their fixed order.
func collect(cfg Config, name string, sessions int, swarms []*swarmSessions, mine, twin []finished) Result {
	r := Result{Policy: name, Seed: cfg.Seed}
	per := make([]SessionResult, sessions)
	ran := make([]bool, sessions)
	var total, other series
	var limit, bytes, twinCDN, raw, twinBytes int64
	var twinShown time.Duration
	first, last := time.Duration(-1), time.Duration(0)
	for i, sw := range swarms {
		f := &mine[i]
		if !f.done || !twin[i].done {
			r.Partial = true
			continue
		}
		r.Partial = r.Partial || f.partial || twin[i].partial
		one := SwarmResult{Title: sw.title, Sessions: len(sw.sessions)}
		var p2p, cdn, online int64
		for j, place := range sw.places {
			s := f.results[j]
			if s.Title == "" {
				continue // had not come when the run was cut short
			}
			per[place], ran[place] = s, true
			p2p, cdn = p2p+s.P2P, cdn+s.CDNSum()
			online += int64(s.Watched)
			other := &twin[i].results[j]
			twinCDN += other.CDNSum()
			twinBytes, twinShown = twinBytes+other.CDNSum()+other.Cache, twinShown+other.Shown
			raw += s.CDNSum()
			if first < 0 || s.Start < first {
				first = s.Start
			}
			last = max(last, s.Start+s.Watched)
		}
		one.Saving = ratio(float64(p2p), float64(p2p+cdn))
		one.Bound = ratio(float64(f.limit), float64(f.bytes))
		from := sw.sessions[0].Start
		to := from
		for _, s := range sw.sessions {
			to = max(to, s.End())
		}
		one.MeanOnline = ratio(float64(online), float64(to-from))
		r.Swarms = append(r.Swarms, one)
		total.merge(&f.total)
		other.merge(&twin[i].total)
		limit, bytes = limit+f.limit, bytes+f.bytes
	}
	for i := range per {
		if ran[i] {
			r.PerSession = append(r.PerSession, per[i])
		}
	}
	r.sum()
	r.NetSaving = 0
	// For the bytes that were played: else a policy would save by quality, by stalls, and
	// by being interrupted before the twin was.
	bill := float64(twinCDN) * ratio(float64(r.P2PBytes+r.CDNBytes+r.CacheBytes), float64(twinBytes))
	if bill > 0 {
		r.NetSaving = 1 - float64(raw)/bill
	}
	r.TwinMeanKbps = ratio(float64(twinBytes)/kbps, twinShown.Seconds())
	r.SimSeconds = (last - max(first, 0)).Seconds()
	r.Bound = ratio(float64(limit), float64(bytes))
	r.SavingOverBound = ratio(r.Saving, r.Bound)
	r.CDNP95Mbps, r.TwinCDNP95Mbps = p95Mbps(total.cdn, other.cdn), p95Mbps(other.cdn, other.cdn)
	r.Series = Series{BinLength: binLength, P2P: total.p2p, CDN: total.cdn, TwinCDN: other.cdn}
	for _, n := range total.online {
		r.Series.Online = append(r.Series.Online, float64(n)/float64(binLength.Milliseconds()))
	}
	return r
}
