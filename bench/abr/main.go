// Command abr shows which renditions hls.js and dash.js choose behind an
// emulated line: straight from the origin, and through a node.
//
//	go run ./bench/abr [--line 3000] [--players hls.js,dash.js] [--ways direct,cold,…] [--unpaced] [--json]
//
// Every run has an origin of its own, limited to the line in total, and a node
// of its own. The runs of one batch play at the same time, in one browser.
// ffmpeg makes the ladder, npm brings dash.js; both are kept in build/abr.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"

	"shoal/bench/abr/rig"
)

func main() {
	log.SetFlags(0)
	var o options
	flag.IntVar(&o.line, "line", 3000, "what the origin sends in total, kbit/s")
	flag.StringVar(&o.players, "players", rig.Hls+","+rig.Dash, "players")
	flag.StringVar(&o.ways, "ways", "direct,direct,cold,jit,jit@1500,replay,warm,unmeasured,seed,seed@4000", "ways to the origin; @KBPS limits the uplink of a seed beside it")
	flag.BoolVar(&o.unpaced, "unpaced", false, "hand over what a node has as fast as the player takes it")
	flag.BoolVar(&o.cmcd, "cmcd", true, "players tell their state (CMCD)")
	flag.IntVar(&o.segments, "segments", 0, "segments to play, of 4 s (default all, 64 s)")
	flag.IntVar(&o.batch, "batch", 8, "runs at the same time")
	flag.BoolVar(&o.json, "json", false, "print results as JSON")
	flag.StringVar(&o.build, "build", "build/abr", "folder for the ladder and dash.js")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal("abr: ", err)
	}
}

type options struct {
	line, batch         int
	segments            int
	players, ways       string
	unpaced, cmcd, json bool
	build               string
}

func run(ctx context.Context, o options) (err error) {
	lab, err := rig.Open(ctx, o.build)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	var scenarios []rig.Scenario
	for _, player := range strings.Split(o.players, ",") {
		for _, way := range strings.Split(o.ways, ",") {
			s := rig.Scenario{Player: player, LineKbps: o.line, Segments: o.segments, CMCD: o.cmcd, Unpaced: o.unpaced}
			name, limit, limited := strings.Cut(way, "@")
			if s.Way = rig.Way(name); limited {
				if _, err := fmt.Sscan(limit, &s.SeedKbps); err != nil {
					return fmt.Errorf("--ways %s: %w", way, err)
				}
			}
			scenarios = append(scenarios, s)
		}
	}
	results := make([]*rig.Result, len(scenarios))
	errs := make([]error, len(scenarios))
	slots := make(chan struct{}, max(o.batch, 1))
	var wg sync.WaitGroup
	for i, s := range scenarios {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i], errs[i] = lab.Run(ctx, s)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", " ")
		return enc.Encode(results)
	}
	return rig.Table(os.Stdout, results)
}
