package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	flags.StringVarP(&f.out, "out", "o", "", "`FILE` to write; gzipped when it ends in .gz (required)")
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
	err = writeTrace(f.out, func(w io.Writer) error {
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
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: %d sessions, profile %s, seed %d\n", f.out, f.sessions, profile.Name, f.seed)
	return err
}

// sayBorrowed names the sections of a profile that are not its own.
func sayBorrowed(cmd *cobra.Command, p *trace.Profile) {
	if sections := p.Borrowed(); len(sections) > 0 {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "profile %s: from profile default: %s\n", p.Name, strings.Join(sections, ", "))
	}
}

// writeTrace replaces a file in one step: a failure half-way leaves what was
// there. A name that ends in .gz is gzipped.
func writeTrace(name string, write func(io.Writer) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), ".shoal-trace-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(temp.Close()), os.Remove(temp.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(temp, 64<<10)
	var w io.Writer = buffered
	finish := buffered.Flush
	if strings.HasSuffix(name, ".gz") {
		zipped := gzip.NewWriter(buffered)
		w = zipped
		finish = func() error { return errors.Join(zipped.Close(), buffered.Flush()) }
	}
	if err := write(w); err != nil {
		return err // it names its input
	}
	if err := errors.Join(finish(), temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
