// Command shoal distributes video between its viewers and falls back to the
// CDN only when a playback deadline would otherwise be missed.
//
// It is one binary: peer runs a node beside a video player, tracker introduces
// peers to each other, pack describes a title, and demo shows all of them at
// work. This package holds flags, wiring and signals; every decision lives in
// the packages beneath it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks every command to clean up; a second one meets the
	// default handler, so that nobody has to wait for a shutdown that hangs.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, rootCommand(), os.Args[1:], os.LookupEnv, os.Stderr))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "shoal",
		Short:   "Video from other viewers first, from the CDN only when a deadline is at stake",
		Long:    rootHelp,
		Version: buildVersion(),
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(peerCommand(), trackerCommand(), packCommand(), demoCommand(), replayCommand(), traceCommand(), versionCommand())
	return root
}

const rootHelp = `shoal distributes video segments between viewers and falls back to the CDN
only when a playback deadline would otherwise be missed.

  shoal pack ./title                  describe a title once, next to its files
  shoal tracker                       introduce viewers to each other
  shoal peer --origin URL --tracker URL
                                      play http://127.0.0.1:7070/<path on the origin>
  shoal demo                          all of it on this machine, with the saving on screen

Every flag can also be given as an environment variable: --cache-bytes is
SHOAL_CACHE_BYTES. A flag beats the environment, the environment beats the default.

Exit status: 0 success, 1 failure, 2 wrong usage.`

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "shoal %s\n", buildVersion())
			return err
		},
	}
}

// buildVersion is the module version of an installed binary, and the commit of
// one built from a checkout.
func buildVersion() string {
	version := "devel"
	info, ok := debug.ReadBuildInfo()
	if ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
	}
	return fmt.Sprintf("%s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
