package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"shoal/bench/player"
)

// reportEvery is how often a player tells what its viewer sees: what a crash
// leaves unknown is at most this much.
const reportEvery = 100 * time.Millisecond

// playTitle is the process of a player. It reports until it is ended.
func playTitle(ctx context.Context, url, name string, out io.Writer) error {
	p := player.New(player.Config{URL: url, Fixed: 1, SessionID: name})
	ended := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx)
		ended <- err
	}()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	lines := json.NewEncoder(out)
	for {
		select {
		case <-tick.C:
			if err := lines.Encode(p.Report()); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}
