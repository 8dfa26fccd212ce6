// Package report writes the results of a replay as one HTML page that needs
// nothing else: no script, no font, no request.
//
// It is a pure function of the results, and safe for concurrent use.
package report

import (
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"shoal/bench/plot"
	"shoal/bench/replay"
)

// pointsMax bounds the points of a curve: more than a screen has pixels only
// makes the page large.
const pointsMax = 600

// Write writes the page. title says what was replayed.
func Write(w io.Writer, title string, results []replay.Result) error {
	page := pageData{Title: title, Rows: table(results)}
	for i := range results {
		page.Policies = append(page.Policies, policy{Name: results[i].Policy, Class: fmt.Sprintf("c%d", i%plot.Classes)})
		page.Partial = page.Partial || results[i].Partial
		page.Skipped = max(page.Skipped, results[i].SkippedRows)
		page.Seed = results[i].Seed
	}
	page.Plots = []plot.Plot{
		savingOverTime(results), rateOverTime(results), viewersOverTime(results),
		startups(results), stalls(results), savingBySize(results), uploads(results),
	}
	for i := range page.Plots {
		page.Plots[i].LayOut()
	}
	return tmpl.Execute(w, page)
}

type pageData struct {
	Title    string
	Seed     uint64
	Partial  bool
	Skipped  int
	Policies []policy
	Rows     []tableRow
	Plots    []plot.Plot
}

type policy struct{ Name, Class string }

type tableRow struct {
	Name   string
	Values []string
}

func table(results []replay.Result) []tableRow {
	var rows []tableRow
	add := func(name string, value func(*replay.Result) string) {
		r := tableRow{Name: name}
		for i := range results {
			r.Values = append(r.Values, value(&results[i]))
		}
		rows = append(rows, r)
	}
	percent := func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
	bytes := func(name string, of func(*replay.Result) int64) {
		unit, size := ByteUnit(results, of)
		add(name, func(r *replay.Result) string { return fmt.Sprintf("%.1f %s", float64(of(r))/size, unit) })
	}
	add("Saving", func(r *replay.Result) string { return percent(r.Saving) })
	add("Net saving", func(r *replay.Result) string { return percent(r.NetSaving) })
	add("Bound", func(r *replay.Result) string { return percent(r.Bound) })
	add("Saving over bound", func(r *replay.Result) string { return percent(r.SavingOverBound) })
	add("CDN rate, 95th percentile", func(r *replay.Result) string { return fmt.Sprintf("%.1f Mbit/s", r.CDNP95Mbps) })
	add("Same without peers", func(r *replay.Result) string { return fmt.Sprintf("%.1f Mbit/s", r.TwinCDNP95Mbps) })
	add("Stalled ÷ watched", func(r *replay.Result) string { return fmt.Sprintf("%.3f %%", 100*r.StallRatio) })
	add("Stalls", func(r *replay.Result) string { return fmt.Sprint(r.Stalls) })
	add("Start-up p50 / p95 / p99", func(r *replay.Result) string {
		return fmt.Sprintf("%.0f / %.0f / %.0f ms", r.StartupMsP50, r.StartupMsP95, r.StartupMsP99)
	})
	add("Mean bitrate", func(r *replay.Result) string { return fmt.Sprintf("%.0f kbit/s", r.MeanKbps) })
	add("Same without peers", func(r *replay.Result) string { return fmt.Sprintf("%.0f kbit/s", r.TwinMeanKbps) })
	add("Switches of rendition", func(r *replay.Result) string { return fmt.Sprint(r.Switches) })
	bytes("Played from peers", func(r *replay.Result) int64 { return r.P2PBytes })
	bytes("Played from the CDN", func(r *replay.Result) int64 { return r.CDNBytes })
	bytes("of it start-up", func(r *replay.Result) int64 { return r.CDNStartupBytes })
	bytes("of it first copies", func(r *replay.Result) int64 { return r.CDNFirstCopyBytes })
	bytes("of it rescue", func(r *replay.Result) int64 { return r.CDNRescueBytes })
	bytes("Duplicates", func(r *replay.Result) int64 { return r.DuplicateBytes })
	bytes("Fetched and not watched", func(r *replay.Result) int64 { return r.WastedBytes })
	add("Peers in the same ISP", func(r *replay.Result) string { return percent(r.SameISPShare) })
	add("Peers in the same region", func(r *replay.Result) string { return percent(r.SameRegionShare) })
	add("Peers in the same country", func(r *replay.Result) string { return percent(r.SameCountryShare) })
	add("Sessions", func(r *replay.Result) string { return fmt.Sprint(r.Sessions) })
	add("Digest", func(r *replay.Result) string { return r.Digest[:min(len(r.Digest), 12)] })
	return rows
}

// ByteUnit is the unit in which a row of the table is read best, and its bytes: all of
// a row have the same.
func ByteUnit(results []replay.Result, of func(*replay.Result) int64) (name string, bytes float64) {
	most := int64(0)
	for i := range results {
		most = max(most, of(&results[i]))
	}
	switch {
	case most >= 1e12:
		return "TB", 1e12
	case most >= 1e10:
		return "GB", 1e9
	default:
		return "MB", 1e6
	}
}

// smooth bins of 10 s make a minute, in which the rhythm of segments is lost.
const smooth = 6

// overTime calls do for each stretch of a series that makes a point.
func overTime(n int, do func(from, to int)) {
	step := max((n+pointsMax-1)/pointsMax, min(smooth, n/smooth), 1)
	every(n, step, do)
}

// binsOf calls do for each stretch of n sorted values that makes a point.
func binsOf(n int, do func(from, to int)) { every(n, max((n+pointsMax-1)/pointsMax, 1), do) }

func every(n, step int, do func(from, to int)) {
	for i := 0; i < n; i += step {
		do(i, min(i+step, n))
	}
}

func sum(bins []int64, from, to int) (total int64) {
	for i := from; i < min(to, len(bins)); i++ {
		total += bins[i]
	}
	return total
}

// busy is where the twin begins and ends to do anything.
func busy(r *replay.Result) (first, last int) {
	last = len(r.Series.TwinCDN)
	for first < last && r.Series.TwinCDN[first] == 0 {
		first++
	}
	for last > first && r.Series.TwinCDN[last-1] == 0 {
		last--
	}
	return first, last
}

func hours(bins int, length time.Duration) float64 {
	return (time.Duration(bins) * length).Hours()
}

func savingOverTime(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Saving over the day", X: "hours since the trace began", Y: "share of the bytes that came from peers", MaxY: 1}
	for i := range results {
		r := &results[i]
		first, last := busy(r)
		c := plot.Curve{Name: r.Policy, Class: i}
		overTime(last-first, func(from, to int) {
			p2p, cdn := sum(r.Series.P2P, first+from, first+to), sum(r.Series.CDN, first+from, first+to)
			if p2p+cdn > 0 {
				c.Add(hours(first+from, r.Series.BinLength), float64(p2p)/float64(p2p+cdn))
			}
		})
		p.Curves = append(p.Curves, c)
	}
	return p
}

func rateOverTime(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "CDN rate against the twin without peers", X: "hours since the trace began", Y: "Mbit/s"}
	rate := func(name string, class int, r *replay.Result, bins []int64) {
		first, last := busy(r)
		c := plot.Curve{Name: name, Class: class}
		overTime(last-first, func(from, to int) {
			seconds := float64(to-from) * r.Series.BinLength.Seconds()
			c.Add(hours(first+from, r.Series.BinLength), float64(sum(bins, first+from, first+to))*8/1e6/seconds)
		})
		p.Curves = append(p.Curves, c)
	}
	for i := range results {
		rate(results[i].Policy, i, &results[i], results[i].Series.CDN)
	}
	if len(results) > 0 {
		rate("twin", plot.TwinClass, &results[0], results[0].Series.TwinCDN)
	}
	return p
}

func viewersOverTime(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Viewers online", X: "hours since the trace began", Y: "viewers"}
	for i := range results[:min(1, len(results))] {
		r := &results[i]
		first, last := busy(r)
		c := plot.Curve{Name: "viewers", Class: plot.TwinClass}
		overTime(last-first, func(from, to int) {
			total := 0.0
			for j := first + from; j < min(first+to, len(r.Series.Online)); j++ {
				total += r.Series.Online[j]
			}
			c.Add(hours(first+from, r.Series.BinLength), total/float64(to-from))
		})
		p.Curves = append(p.Curves, c)
	}
	return p
}

// distribution is a curve of the share of values up to x.
func distribution(name string, class int, values []float64) plot.Curve {
	slices.Sort(values)
	c := plot.Curve{Name: name, Class: class}
	share := 0.0
	binsOf(len(values), func(_, to int) {
		c.Add(values[to-1], share)
		share = float64(to) / float64(len(values))
		c.Add(values[to-1], share)
	})
	return c
}

func startups(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Start-up", X: "ms until the first picture", Y: "share of sessions that had started by then", MaxY: 1, LogX: true}
	for i := range results {
		var values []float64
		for _, s := range results[i].PerSession {
			if s.Started {
				values = append(values, max(s.Startup.Seconds()*1000, 1))
			}
		}
		p.Curves = append(p.Curves, distribution(results[i].Policy, i, values))
	}
	return p
}

// stalls leaves out those who never stalled, who would be the whole picture.
func stalls(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Stalls", X: "% of the time stalled", Y: "share of sessions that stalled longer", LogX: true}
	for i := range results {
		var values []float64
		for _, s := range results[i].PerSession {
			if s.Stalled > 0 {
				values = append(values, max(100*s.Stalled.Seconds()/(s.Played+s.Stalled).Seconds(), 0.01))
			}
		}
		p.Curves = append(p.Curves, exceeding(results[i].Policy, i, values, len(results[i].PerSession)))
	}
	return p
}

// exceeding is the share of n that lies above each of some values.
func exceeding(name string, class int, values []float64, n int) plot.Curve {
	slices.Sort(values)
	c := plot.Curve{Name: name, Class: class}
	share := float64(len(values)) / float64(max(n, 1))
	binsOf(len(values), func(_, to int) {
		c.Add(values[to-1], share)
		share = float64(len(values)-to) / float64(n)
		c.Add(values[to-1], share)
	})
	return c
}

func savingBySize(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Saving against swarm size", X: "mean number of viewers", Y: "saving of a title", MaxY: 1, LogX: true, Dots: true}
	for i := range results {
		c := plot.Curve{Name: results[i].Policy, Class: i}
		for j, s := range results[i].Swarms {
			if j == pointsMax {
				break
			}
			c.Add(max(s.MeanOnline, 0.1), s.Saving)
		}
		p.Curves = append(p.Curves, c)
	}
	return p
}

func uploads(results []replay.Result) plot.Plot {
	p := plot.Plot{Title: "Who uploads", X: "% of the peers, those who send least first", Y: "share of the bytes sent", MaxY: 1}
	for i := range results {
		var values []float64
		total := 0.0
		for _, s := range results[i].PerSession {
			values = append(values, float64(s.Sent))
			total += float64(s.Sent)
		}
		if total == 0 {
			continue
		}
		slices.Sort(values)
		c := plot.Curve{Name: results[i].Policy, Class: i}
		c.Add(0, 0)
		so := 0.0
		binsOf(len(values), func(from, to int) {
			for _, v := range values[from:to] {
				so += v
			}
			c.Add(100*float64(to)/float64(len(values)), so/total)
		})
		p.Curves = append(p.Curves, c)
	}
	return p
}

var tmpl = template.Must(template.New("report").Parse(plot.Templates + pageHTML))
