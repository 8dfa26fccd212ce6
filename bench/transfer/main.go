// Command transfer measures how fast one peer process gets a title from
// another, every byte verified, beside anacrolix/torrent on the same machine in
// the same run.
//
//	go run ./bench/transfer [--mib 512] [--runs 3] [--json]
//
// The runs of the systems are interleaved, and medians are printed: on a shared
// machine only a ratio within one run means anything.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// A system is one line of the result.
type system struct {
	System string    `json:"system"`
	Gbps   float64   `json:"gbps"` // median
	Runs   []float64 `json:"runs"`
}

func main() {
	role := flag.String("role", "", "for the processes that this command starts")
	origin := flag.String("origin", "", "of this role")
	tracker := flag.String("tracker", "", "of this role")
	mib := flag.Int("mib", 512, "size of the title in MiB")
	runs := flag.Int("runs", 3, "interleaved runs of each system")
	asJSON := flag.Bool("json", false, "print one JSON object")
	rival := flag.Bool("rival", true, "run anacrolix/torrent as well")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*role, *origin, *tracker, *mib, *runs, *rival, *asJSON); err != nil {
		log.Fatal("transfer: ", err)
	}
}

func run(role, origin, tracker string, mib, runs int, rival, asJSON bool) error {
	switch role {
	case "seed":
		return seed(origin, tracker)
	case "leech":
		return leech(origin, tracker)
	}
	systems := []*system{{System: "shoal"}}
	measure := []func() (float64, error){func() (float64, error) { return measureShoal(mib) }}
	if rival {
		bin, err := buildRival()
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(filepath.Dir(bin)) }()
		systems = append(systems, &system{System: "anacrolix/torrent v1.61.0, TCP, 64 KiB pieces"})
		measure = append(measure, func() (float64, error) { return measureRival(bin, mib) })
	}
	for range runs {
		for i, s := range systems {
			gbps, err := measure[i]()
			if err != nil {
				return fmt.Errorf("%s: %w", s.System, err)
			}
			s.Runs = append(s.Runs, gbps)
		}
	}
	for _, s := range systems {
		sorted := slices.Sorted(slices.Values(s.Runs))
		s.Gbps = sorted[len(sorted)/2]
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"systems": systems})
	}
	for _, s := range systems {
		fmt.Printf("%-50s %6.2f Gbit/s verified (median of %.2f)\n", s.System, s.Gbps, s.Runs)
	}
	if rival {
		fmt.Printf("%-50s %6.2f\n", "ratio", systems[0].Gbps/systems[1].Gbps)
	}
	return nil
}

// buildRival builds the other module once, so that no run pays for it.
func buildRival() (string, error) {
	dir, err := os.MkdirTemp("", "rival")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "rivals")
	c := exec.Command("go", "build", "-o", bin, ".")
	c.Dir = "bench/rivals"
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("build bench/rivals (run this command from the repository's root): %w", err)
	}
	return bin, nil
}

func measureRival(bin string, mib int) (float64, error) {
	c := exec.Command(bin, "--mib", fmt.Sprint(mib))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	var r struct{ Gbps float64 }
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, err
	}
	return r.Gbps, nil
}
