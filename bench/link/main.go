// Command link runs shoal's flows beside the kernel's own TCP through an
// emulated bottleneck and measures both.
//
//	go run ./bench/link run --rate 20mbit --rtt 40ms --jitter 20ms --loss 0.03 --buffer 1bdp --flow shoal-cubic --flow tcp-cubic@5s --json
//
// Every flow is two processes in two network namespaces: a sender that always
// has more to send, and a receiver. A shoal flow is a seed and a leech over
// engine/transport, as a peer uses it; a TCP flow is the kernel's, with the
// congestion control of its name. The link between the namespaces is
// bench/emulator's. Link and flows are served before all other programs of the
// machine. It needs Linux and root.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

const usage = `usage: go run ./bench/link run [options]     measure flows through one bottleneck; run --help lists the options
       go run ./bench/link table [options]   measure every target and write docs/congestion-control.md: an hour and more
       go run ./bench/link calibrate         compare flows with shoal replay's model of them; calibrate --help
       go run ./bench/link                   print that table as it was measured and, as root, measure two of its rows: two minutes
`

// endCommand is the processes' that this command starts.
const endCommand = "end"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:])
	switch bad := (usageError{}); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &bad):
		_, _ = fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(2)
	default:
		_, _ = fmt.Fprintln(os.Stderr, "link:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == endCommand {
		return runEnd(args[1], os.Stdout)
	}
	// The emulator's loop finds a free processor of the runtime whatever else goes on here.
	runtime.GOMAXPROCS(runtime.NumCPU() + 8)
	if len(args) == 0 {
		return glance(ctx)
	}
	switch args[0] {
	case "run":
		return run(ctx, args[1:])
	case "table":
		o, err := parseTable(args[1:], os.Stdout)
		if err != nil {
			return err
		}
		return table(ctx, o)
	case "calibrate":
		o, err := parseCalibrate(args[1:], os.Stdout)
		if err != nil {
			return err
		}
		return calibrate(ctx, o)
	case "help", "-h", "--help":
		_, err := fmt.Print(usage)
		return err
	default:
		return usageError{fmt.Errorf("there is no command %q\n%s", args[0], usage)}
	}
}

func run(ctx context.Context, args []string) error {
	o, err := parseRun(args, os.Stdout)
	if err != nil {
		return err
	}
	if err := becomeRealtime(linkPriority); err != nil {
		return err
	}
	r, err := measure(ctx, &o.scenario)
	if err != nil {
		return err
	}
	if !o.series {
		r = r.withoutSeries()
	}
	if o.asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	return r.print(os.Stdout)
}

// glance is for make bench: the table as it stands in the document, and two rows of it
// measured now.
func glance(ctx context.Context) error {
	o, err := parseTable([]string{"--runs", "1", "--row", "jitter-loss", "--row", "queue"}, os.Stdout)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		// At once: the process starts anew, and would print the table twice.
		if err := becomeRealtime(linkPriority); err != nil {
			return err
		}
	}
	if err := printTable(os.Stdout, documentPath); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		_, err := fmt.Println("Not root: nothing is measured now.")
		return err
	}
	_, err = fmt.Print("Measured now, one run each; go run ./bench/link table measures all.\n\n")
	return errors.Join(err, table(ctx, o))
}
