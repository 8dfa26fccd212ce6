package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shoal/bench/replay/trace"
)

// traceCommand makes what shoal replay runs on.
func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Make the traces that a replay runs on",
		Long: `Make the traces that shoal replay runs on: from public formats, or from a
profile of how people watch and what lines they have. docs/replay.md describes
the formats. Your own: shoal peer --record FILE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(traceImportCommand(), traceGenerateCommand())
	return cmd
}

// generateFlags are the flags of shoal trace generate.
type generateFlags struct {
	profile, out     string
	seed             uint64
	sessions, titles int
	from, to, end    time.Duration
}

func traceGenerateCommand() *cobra.Command {
	var f generateFlags
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make synthetic sessions from a profile",
		Long: `Make the sessions of one day from a profile: who comes when, what they watch and
for how long, and over which line. The same profile and seed make the same file.

Profiles that come with shoal: ` + strings.Join(trace.ProfileNames(), ", ") + `. A profile of your own is
a JSON file; docs/replay.md describes it.`,
		Example: `  shoal trace generate --profile live --seed 1 --sessions 2000 -o sessions.csv
  shoal trace generate --profile homes.json --seed 1 --titles 20 --from 20h --to 22h --end 23h -o evening.csv.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.profile, "profile", "default", "`NAME` of a profile that comes with shoal, or a JSON file")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of all randomness")
	flags.IntVar(&f.sessions, "sessions", 1000, "how many sessions")
	flags.IntVar(&f.titles, "titles", 0, "how many titles there are to choose from, the most popular ones (default as many as the profile knows)")
	flags.DurationVar(&f.from, "from", 0, "when the first viewers come, since midnight")
	flags.DurationVar(&f.to, "to", 24*time.Hour, "when the last viewers come, since midnight")
	flags.DurationVar(&f.end, "end", 0, "when the recording ends and cuts sessions short, since midnight (default never)")
	flags.StringVarP(&f.out, "out", "o", "", "`FILE` to write (- is stdout); gzipped when it ends in .gz (required)")
	return cmd
}

func (f *generateFlags) run(cmd *cobra.Command) error {
	if f.out == "" {
		return usagef("-o FILE is missing: where the sessions go")
	}
	profile, err := trace.OpenProfile(f.profile)
	if err != nil {
		return usageError{err}
	}
	sayBorrowed(cmd, profile)
	g := trace.Synthetic{Profile: profile, Seed: f.seed, Sessions: f.sessions, Titles: f.titles, From: f.from, To: f.to, End: f.end}
	if err := g.Validate(); err != nil {
		return usageError{err}
	}
	err = writeOutput(cmd, f.out, func(w io.Writer) error {
		sessions := trace.WriteSessions(w, trace.GeneratedColumns...)
		return g.Generate(func(s trace.Session) error {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			return sessions.Write(s)
		})
	})
	if err != nil {
		return err
	}
	return sayWrote(cmd, f.out, fmt.Sprintf("%d sessions, profile %s, seed %d", f.sessions, profile.Name, f.seed))
}

// sayBorrowed names the sections of a profile that are not its own.
func sayBorrowed(cmd *cobra.Command, p *trace.Profile) {
	if sections := p.Borrowed(); len(sections) > 0 {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "profile %s: from profile default: %s\n", p.Name, strings.Join(sections, ", "))
	}
}
