package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"time"
)

// Result is what a policy made of the sessions. Byte counts are payload; those
// by source count what was played.
type Result struct {
	Policy        string  `json:"policy"`
	Seed          uint64  `json:"seed"`
	Digest        string  `json:"digest"`
	Partial       bool    `json:"partial"`
	SkippedRows   int     `json:"skipped_rows"`
	Sessions      int     `json:"sessions"`
	ViewerSeconds float64 `json:"viewer_seconds"`
	SimSeconds    float64 `json:"sim_seconds"`
	WallSeconds   float64 `json:"wall_seconds"` // the caller's to fill in

	P2PBytes          int64 `json:"p2p_bytes"`
	CDNBytes          int64 `json:"cdn_bytes"`
	CDNStartupBytes   int64 `json:"cdn_startup_bytes"`
	CDNFirstCopyBytes int64 `json:"cdn_first_copy_bytes"`
	CDNRescueBytes    int64 `json:"cdn_rescue_bytes"`
	CacheBytes        int64 `json:"cache_bytes"`
	RelayBytes        int64 `json:"relay_bytes"`
	DuplicateBytes    int64 `json:"duplicate_bytes"`
	// WastedBytes came, but were neither played nor duplicates. A segment that was left
	// before all of it had come counts here.
	WastedBytes int64 `json:"wasted_bytes"`

	Saving          float64 `json:"saving"`
	NetSaving       float64 `json:"net_saving"` // 1 - CDN bytes ÷ those of the twin, cdn-only
	Bound           float64 `json:"bound"`      // no saving of what was played can be higher
	SavingOverBound float64 `json:"saving_over_bound"`
	CDNP95Mbps      float64 `json:"cdn_p95_mbps"`
	TwinCDNP95Mbps  float64 `json:"twin_cdn_p95_mbps"`

	StallRatio       float64 `json:"stall_ratio"` // stalled ÷ (played + stalled)
	Stalls           int     `json:"stalls"`
	StartupMsP50     float64 `json:"startup_ms_p50"`
	StartupMsP95     float64 `json:"startup_ms_p95"`
	StartupMsP99     float64 `json:"startup_ms_p99"`
	SameISPShare     float64 `json:"same_isp_share"` // of what was played from peers
	SameRegionShare  float64 `json:"same_region_share"`
	SameCountryShare float64 `json:"same_country_share"`
	UploadGini       float64 `json:"upload_gini"`

	// MeanKbps is the mean bitrate of what was shown, Switches how often a player
	// changed its rendition: what is saved must not be paid for with quality.
	MeanKbps     float64 `json:"mean_kbps"`
	TwinMeanKbps float64 `json:"twin_mean_kbps"`
	Switches     int     `json:"switches"`

	// PerSession is in the order of the input.
	PerSession []SessionResult `json:"-"`
	// Series over time, in bins of BinLength since the trace's beginning.
	Series Series `json:"-"`
	// Swarms by title.
	Swarms []SwarmResult `json:"-"`
}

// Series are sums per bin.
type Series struct {
	BinLength time.Duration
	P2P, CDN  []int64 // bytes that came
	TwinCDN   []int64
	Online    []float64 // mean number of viewers
}

// SwarmResult is the part of one title.
type SwarmResult struct {
	Title      string
	Sessions   int
	MeanOnline float64
	Saving     float64
	Bound      float64
}

// SessionResult is what one session saw and cost.
type SessionResult struct {
	Session                string
	Title                  string
	Start, Watched, Played time.Duration
	Started                bool
	Startup                time.Duration
	Stalls                 int
	Stalled                time.Duration
	P2P, Cache             int64
	CDN                    [4]int64 // startup, first copy, rescue, hash failure
	Duplicate, Wasted      int64
	Sent                   int64
	Received               int64 // from peers, of use or not
	SameISP, SameRegion    int64 // of P2P
	SameCountry            int64
	Shown                  time.Duration // media time of the segments that were shown
	Switches               int           // of the rendition
}

// MeanKbps is the mean bitrate of what was shown.
func (s *SessionResult) MeanKbps() float64 {
	return ratio(float64(s.P2P+s.CDNSum()+s.Cache)/kbps, s.Shown.Seconds())
}

// CDNSum is all that was played from the CDN.
func (s *SessionResult) CDNSum() (sum int64) {
	for _, n := range s.CDN {
		sum += n
	}
	return sum
}

func sessionResult(p *peer) SessionResult {
	a := &p.acct
	return SessionResult{
		Session: p.s.ID, Title: p.s.Title, Start: p.s.Start, Watched: min(p.w.now-p.arrived, p.s.Watch), Played: a.played,
		Started: a.started, Startup: a.startup, Stalls: a.stalls, Stalled: a.stalled,
		P2P: a.p2p, Cache: a.cache, CDN: a.cdn, Duplicate: a.dup,
		Wasted: max(a.rawP2P+a.rawCDN-a.p2p-a.cdnPlayed()-a.dup, 0),
		Sent:   a.sent, Received: a.rawP2P, SameISP: a.near.isp, SameRegion: a.near.region, SameCountry: a.near.country,
		Shown: time.Duration(a.segmentsShown) * p.w.media.segment, Switches: a.switches,
	}
}

// digest is a hash over the sessions' results, in their order.
func digest(sessions []SessionResult) string {
	h := sha256.New()
	var b []byte
	for i := range sessions {
		s := &sessions[i]
		b = append(b[:0], s.Session...)
		for _, n := range []int64{
			int64(s.Watched), int64(s.Played), int64(s.Startup), int64(s.Stalls), int64(s.Stalled), s.P2P, s.Cache,
			s.CDN[0], s.CDN[1], s.CDN[2], s.CDN[3], s.Duplicate, s.Wasted, s.Sent, s.Received, s.SameISP, s.SameRegion,
		} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		_, _ = h.Write(b) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sum works out the figures of all sessions.
func (r *Result) sum() {
	var startups, sent []float64
	var stalled, playedTime, shown time.Duration
	var isp, region, country int64
	for i := range r.PerSession {
		s := &r.PerSession[i]
		r.ViewerSeconds += s.Watched.Seconds()
		r.P2PBytes += s.P2P
		r.CDNBytes += s.CDNSum()
		r.CDNStartupBytes += s.CDN[0]
		r.CDNFirstCopyBytes += s.CDN[1]
		r.CDNRescueBytes += s.CDN[2]
		r.CacheBytes += s.Cache
		r.DuplicateBytes += s.Duplicate
		r.WastedBytes += s.Wasted
		r.Stalls += s.Stalls
		stalled += s.Stalled
		playedTime += s.Played
		isp += s.SameISP
		region += s.SameRegion
		country += s.SameCountry
		sent = append(sent, float64(s.Sent))
		shown += s.Shown
		r.Switches += s.Switches
		if s.Started {
			startups = append(startups, s.Startup.Seconds()*1000)
		}
	}
	r.Sessions = len(r.PerSession)
	r.MeanKbps = ratio(float64(r.P2PBytes+r.CDNBytes+r.CacheBytes)/kbps, shown.Seconds())
	r.Saving = ratio(float64(r.P2PBytes), float64(r.P2PBytes+r.CDNBytes))
	r.StallRatio = ratio(stalled.Seconds(), (stalled + playedTime).Seconds())
	slices.Sort(startups)
	r.StartupMsP50, r.StartupMsP95, r.StartupMsP99 = Quantile(startups, 0.5), Quantile(startups, 0.95), Quantile(startups, 0.99)
	r.SameISPShare = ratio(float64(isp), float64(r.P2PBytes))
	r.SameRegionShare = ratio(float64(region), float64(r.P2PBytes))
	r.SameCountryShare = ratio(float64(country), float64(r.P2PBytes))
	r.UploadGini = gini(sent)
	r.Digest = digest(r.PerSession)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Quantile of sorted values: the smallest that at least the share q does not
// exceed. 0 of none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// gini is the inequality of values: 0 when all are equal, near 1 when one has all.
func gini(values []float64) float64 {
	slices.Sort(values)
	var sum, weighted float64
	for i, v := range values {
		sum += v
		weighted += float64(i+1) * v
	}
	n := float64(len(values))
	if sum == 0 {
		return 0
	}
	return (2*weighted/sum - n - 1) / n
}

const (
	// billedBin is the grain of 95th-percentile billing. Traces shorter than
	// shortTrace have too few such bins: binLength serves for them.
	billedBin  = 5 * time.Minute
	shortTrace = 2 * time.Hour
)

// p95Mbps is the rate that 95 % of the bins do not exceed, between the first
// and the last bin in which the twin had anything to do.
func p95Mbps(bins, busy []int64) float64 {
	first, last := 0, len(busy)
	for first < last && busy[first] == 0 {
		first++
	}
	for last > first && busy[last-1] == 0 {
		last--
	}
	step := 1
	if time.Duration(last-first)*binLength >= shortTrace {
		step = int(billedBin / binLength)
	}
	var rates []float64
	for i := first; i < last; i += step {
		sum := int64(0)
		for j := i; j < min(i+step, last, len(bins)); j++ {
			sum += bins[j]
		}
		rates = append(rates, float64(sum)*8/1e6/(time.Duration(min(step, last-i))*binLength).Seconds())
	}
	slices.Sort(rates)
	return Quantile(rates, 0.95)
}
