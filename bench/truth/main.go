// Command truth checks the replay against real nodes: eight viewers with shoal
// processes, a tracker and an origin behind emulated access lines watch a title
// for two minutes, and two of them crash.
//
//	go run ./bench/truth [--scale 2,1,0.5] [--runs 5] [--seed 1] [--json]
//
// It needs Linux, root (network namespaces and TUN devices) and ffmpeg. See
// README.md beside it for what is measured and what the files are.
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
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runtimeProcessors leave one free for the emulator's loop whatever the
// goroutines that follow eight nodes do.
const runtimeProcessors = 2*viewers + 4

// options of the command line.
type options struct {
	scales  []float64
	runs    int
	seed    uint64
	length  time.Duration
	build   string
	shoal   string
	nice    int
	queue   int
	model   bool
	runOnly bool
	rival   string
}

func main() {
	log.SetFlags(0)
	var o options
	scales := flag.String("scale", "2,1,0.5", "summed uplink over demand; several, separated by commas")
	flag.IntVar(&o.runs, "runs", 5, "real runs of each scale")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the households, of who joins and crashes when, and of the replay")
	flag.DurationVar(&o.length, "length", 2*time.Minute, "length of a run")
	flag.StringVar(&o.build, "build", "build/truth", "folder for binary, title, logs and traces")
	flag.StringVar(&o.shoal, "shoal", "", "the shoal to run; default: build it from this tree")
	flag.IntVar(&o.nice, "nice", -10, "niceness of nodes, players and servers: what else runs on the machine should not be measured")
	flag.IntVar(&o.queue, "uplink-queue", uplinkQueueKiB, "KiB that each household's router buffers in front of the uplink")
	flag.BoolVar(&o.model, "replay", true, "run the same traces in the replay and compare")
	flag.BoolVar(&o.runOnly, "replay-only", false, "run the traces in the replay alone; needs no root")
	asJSON := flag.Bool("json", false, "print one JSON object")
	flag.StringVar(&o.rival, "rival", "", "run another program instead of shoal: p2p-media-loader, libtorrent, libtorrent-rarest-first or libtorrent-web-seed")
	play := flag.String("play", "", "URL to play, for the processes that this command starts")
	name := flag.String("name", "", "of that player")
	var b browseOptions
	flag.StringVar(&b.url, "browse", "", "URL to play in a browser, for the processes that this command starts")
	flag.StringVar(&b.tracker, "tracker", "", "of that browser's page")
	flag.StringVar(&b.modules, "modules", "", "folder of that browser's page")
	flag.StringVar(&b.profile, "profile", "", "folder of that browser's profile")
	serve := flag.String("serve", "", "folder to serve, for the processes that this command starts")
	listen := flag.String("listen", "", "address of that server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *play != "":
		err = playTitle(ctx, *play, *name, os.Stdout)
	case b.url != "":
		b.nice = o.nice
		err = browseTitle(ctx, b, os.Stdout)
	case *serve != "":
		err = serveTitle(ctx, *serve, *listen, os.Stdout)
	default:
		if o.scales, err = parseScales(*scales); err == nil {
			err = run(ctx, o, *asJSON)
		}
	}
	if err != nil {
		log.Fatal("truth: ", err)
	}
}

func parseScales(text string) (scales []float64, err error) {
	for _, field := range strings.Split(text, ",") {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil || v <= 0 || v > 100 {
			return nil, fmt.Errorf("--scale %q: give numbers above 0, e.g. --scale 2,1,0.5", text)
		}
		scales = append(scales, v)
	}
	return scales, nil
}

// openLab opens the lab of what is to run, and tells its policy.
func (o *options) openLab(ctx context.Context) (*lab, string, error) {
	if o.rival == "" {
		l, err := openLab(ctx, o.build, o.shoal)
		return l, "shoal", err
	}
	r, err := rivalByName(o.rival)
	if err != nil {
		return nil, "", err
	}
	l, err := openRivalLab(ctx, o.build, r)
	return l, r.policy, err
}

func run(ctx context.Context, o options, asJSON bool) error {
	if o.runs < 1 || o.queue < 1 || o.queue > 1<<20 || o.length < 10*time.Second || o.length > titleLength {
		return fmt.Errorf("--runs and --uplink-queue are at least 1, and --length 10 s to %v", titleLength)
	}
	lab, policy, err := o.openLab(ctx)
	if err != nil {
		return err
	}
	lab.nice = o.nice
	runtime.GOMAXPROCS(runtimeProcessors)
	var all []*scaleResult
	failed := 0
	for _, scale := range o.scales {
		w := newWorld(o.seed, scale, lab.title.kbps, o.length)
		w.uplinkQueueKiB, w.policy = o.queue, policy
		s := &scaleResult{Scale: scale, DemandKbps: w.demandKbps(), Seed: o.seed, Homes: w.homes}
		if err := w.write(lab.dir, scale); err != nil {
			return err
		}
		for i := 0; i < o.runs && !o.runOnly; i++ {
			r, err := lab.play(ctx, w, fmt.Sprintf("scale%g-run%d", scale, i+1))
			if err != nil {
				return fmt.Errorf("scale %g, run %d: %w", scale, i+1, err)
			}
			s.Runs = append(s.Runs, r)
			if !asJSON {
				fmt.Println(r.line(scale, i+1))
			}
		}
		s.summarize()
		if o.model {
			if err := s.compare(ctx, w, lab.title); err != nil {
				return err
			}
			failed += s.failed()
		}
		if !asJSON {
			s.print(os.Stdout)
		}
		all = append(all, s)
	}
	if asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", " ")
		if err := enc.Encode(map[string]any{"scales": all, "title_kbps": lab.title.kbps}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return errors.New("the replay differs from the real runs")
	}
	return nil
}
