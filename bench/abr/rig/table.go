package rig

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Table prints one line per result.
func Table(w io.Writer, results []*Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "scenario\tfirst frame\tstalls\tswitches\tmodal kbit/s\tmean step\tmean kbit/s\tmeasured\testimate\tabove line\tnode's line\tCDN MB\tP2P MB\tcache MB\tsteps")
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%s\t%d ms\t%d (%.1f s)\t%d\t%d\t%.2f\t%.0f\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%s\n",
			r.Scenario, r.FirstFrame, r.Stalls, r.StalledMS/1000, r.Switches(), Ladder[r.Modal()], r.MeanStep(), r.MeanKbps(),
			r.MeasuredKbps(), r.Estimate(), r.Above(), r.LineKbps,
			float64(r.CDNBytes)/1e6, float64(r.P2PBytes)/1e6, float64(r.CacheBytes)/1e6, r.Steps())
	}
	return t.Flush() // carries the errors of the lines
}

func median(values []int) int {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
