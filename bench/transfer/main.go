// Command transfer measures how fast one peer process gets a title from
// another, every byte verified, and how much processor time both need for it,
// beside anacrolix/torrent, libtorrent, quic-go and TLS over TCP on the same
// machine in the same run.
//
//	go run ./bench/transfer [--mib 1024] [--runs 3] [--systems shoal,libtorrent] [--json]
//	go run ./bench/transfer --homes [--seconds 30] [--json]
//
// The runs of the systems are interleaved, and medians are printed: on a shared
// machine only a ratio within one run means anything. quic-go and TLS verify
// nothing.
//
// With --homes, as root, one seed serves 50 leeches at 2 Mbit/s each, behind
// emulated lines with an MTU of 1,500 bytes and without offload: what a seed costs
// that is a television. Beside it, libtorrent with uTP, which takes the jitter of a
// busy machine for congestion: look at both rates before you compare.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"shoal/engine"
)

func main() {
	log.SetFlags(0)
	var role role
	flag.StringVar(&role.name, "role", "", "for the processes that this command starts")
	flag.StringVar(&role.cfg.Origin, "origin", "", "of this role")
	flag.StringVar(&role.cfg.Tracker, "tracker", "", "of this role")
	flag.StringVar(&role.cfg.CacheDir, "cache", "", "of this role")
	flag.StringVar(&role.cfg.UDP, "udp", "127.0.0.1:0", "of this role")
	flag.StringVar(&role.addr, "addr", "", "of this role's seed")
	flag.Int64Var(&role.offset, "offset", 0, "of this role's read")
	flag.BoolVar(&role.cfg.NoUpload, "no-upload", false, "of this role")
	flag.IntVar(&role.mib, "mib", 1024, "size of the title in MiB")
	runs := flag.Int("runs", 3, "interleaved runs of each system")
	names := flag.String("systems", "", "comma-separated; default all")
	asJSON := flag.Bool("json", false, "print one JSON object")
	atHomes := flag.Bool("homes", false, "one seed and 50 leeches at 2 Mbit/s, behind emulated lines")
	seconds := flag.Int("seconds", 30, "of each run with --homes")
	flag.Parse()
	var err error
	switch {
	case role.name != "":
		err = role.run()
	case *atHomes:
		err = runHomes(time.Duration(*seconds)*time.Second, *runs, *names, *asJSON)
	default:
		err = run(role.mib, *runs, *names, *asJSON)
	}
	if err != nil {
		log.Fatal("transfer: ", err)
	}
}

// role is one side of a transfer, in a process of its own.
type role struct {
	name   string
	cfg    engine.Config
	addr   string
	offset int64
	mib    int
}

func (r *role) run() error {
	switch r.name {
	case "shoal-seed":
		return shoalSeed(r.cfg)
	case "shoal-leech":
		return shoalLeech(r.cfg, r.offset)
	case "quic-seed":
		return quicSeed(r.mib)
	case "quic-leech":
		return quicLeech(r.addr)
	case "tls-seed":
		return tlsSeed(r.mib)
	case "tls-leech":
		return tlsLeech(r.addr)
	default:
		return fmt.Errorf("unknown role %q", r.name)
	}
}

func run(mib, runs int, names string, asJSON bool) error {
	t, err := makeTitle(mib)
	if err != nil {
		return err
	}
	var files *torrent
	all := []*system{
		{name: "shoal", what: "verified, sealed UDP", measure: func() (measurement, error) { return measureShoal(t) }},
		{name: "libtorrent", what: "verified, TCP, 64 KiB pieces", measure: func() (measurement, error) { return files.measureLibtorrent() }},
		{name: "anacrolix/torrent", what: "v1.61.0, verified, TCP, 64 KiB pieces", measure: func() (measurement, error) { return files.measureAnacrolix() }},
		{name: "quic-go", what: "one stream, unverified", measure: func() (measurement, error) { return measureStream("quic", mib) }},
		{name: "tcp-tls", what: "TLS 1.3, unverified", measure: func() (measurement, error) { return measureStream("tls", mib) }},
	}
	systems, err := choose(all, names)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(systems, func(s *system) bool { return strings.Contains(s.name, "torrent") }) {
		if files, err = makeTorrent(t); err != nil {
			return err
		}
		defer files.remove()
	}
	results, err := compare(systems, runs)
	if err != nil {
		return err
	}
	return show(results, asJSON)
}

// choose returns the systems with the given names, or all.
func choose(all []*system, names string) (chosen []*system, err error) {
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s *system) bool { return s.name == name })
		if i < 0 {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("--systems %q: choose from %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func show(results []result, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"systems": results})
	}
	table(results)
	return nil
}
