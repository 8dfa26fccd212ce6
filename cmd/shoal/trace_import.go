package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"shoal/bench/replay/trace"
	"shoal/bench/replay/trace/convert"
)

// importFlags are the flags of shoal trace import.
type importFlags struct {
	out, up, direction string
	skipBad            bool
}

// importFormats are the formats by name. Those without a function of their own
// are network traces.
var importFormats = []string{"p2p-live", "ofcom", "sabre", "mahimahi", "pensieve"}

func traceImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import p2p-live|ofcom|sabre|mahimahi|pensieve IN",
		Short: "Turn a public trace format into ours",
		Long: `Turn a public trace format into ours. IN may be gzipped; a network trace may
also be a folder, and OUT is one then.

  p2p-live   a day of peers of the P2P live streaming dataset   -> sessions (CSV)
  ofcom      Ofcom's panel of UK home lines                     -> profile (JSON)
  sabre      Sabre's JSON                                       -> network trace (CSV)
  mahimahi   delivery opportunities, .down and .up              -> network trace (CSV)
  pensieve   lines of "seconds Mbit/s"                          -> network trace (CSV)

What each takes, infers and leaves out, and what its licence asks for, stands
in docs/replay.md.`,
		Example: `  shoal trace import p2p-live peers_2020-07-03.csv -o sessions.csv
  shoal trace import ofcom panel.csv -o homes.json
  shoal trace import mahimahi Verizon-LTE-short.down --up Verizon-LTE-short.up -o verizon.csv
  shoal trace import sabre 4Glogs -o networks`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: importFormats,
		RunE:      func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "out", "o", "", "`FILE` to write (- is stdout), gzipped when it ends in .gz; a folder when IN is one (required)")
	flags.BoolVar(&f.skipBad, "skip-bad", false, "count rows that cannot be read and go on")
	flags.StringVar(&f.up, "up", "", "mahimahi: `FILE` of the uplink that was recorded with IN")
	flags.StringVar(&f.direction, "direction", "down", "sabre, pensieve: the way that was measured, down or up")
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, format, in string) error {
	switch {
	case !slices.Contains(importFormats, format):
		return usagef("unknown format %q: use %s", format, strings.Join(importFormats, ", "))
	case f.out == "":
		return usagef("-o FILE is missing: where the result goes")
	case f.direction != "down" && f.direction != "up":
		return usagef("--direction %q: use down or up", f.direction)
	case f.up != "" && format != "mahimahi":
		return usagef("--up is for mahimahi")
	}
	info, err := os.Stat(in)
	if err != nil {
		return usageError{err}
	}
	switch {
	case !info.IsDir():
		return f.importFile(cmd, format, in, f.out)
	case format == "p2p-live" || format == "ofcom":
		return usagef("%s is a folder: give the file of %s", in, format)
	case f.out == stdout:
		return usagef("%s is a folder: -o must name one, too", in)
	case f.up != "":
		return usagef("--up is for one file: in a folder, NAME.down and NAME.up belong together")
	default:
		return f.importFolder(cmd, format, in)
	}
}

// importFile converts one file and says what came of it.
func (f *importFlags) importFile(cmd *cobra.Command, format, in, out string) (err error) {
	r, err := trace.Open(in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	o := trace.Options{SkipBad: f.skipBad, Notice: func(text string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), text) }}
	var said string
	switch format {
	case "p2p-live":
		said, err = importSessions(cmd, r, in, out, o)
	case "ofcom":
		said, err = importHomes(cmd, r, in, out, o)
	default:
		said, err = f.importNetwork(cmd, format, r, in, out, o)
	}
	if err != nil {
		return err
	}
	return sayWrote(cmd, out, said)
}

func importSessions(cmd *cobra.Command, r io.Reader, in, out string, o trace.Options) (said string, err error) {
	count, skipped := 0, 0
	err = writeOutput(cmd, out, func(w io.Writer) error {
		sessions := trace.WriteSessions(w, convert.LiveColumns...)
		skipped, err = convert.P2PLive(r, in, o, func(s trace.Session) error {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			count++
			return sessions.Write(s)
		})
		if err == nil && count == 0 {
			err = &trace.Error{File: in, Why: "has no sessions"}
		}
		return err
	})
	return fmt.Sprintf("%d sessions, %d bad rows skipped", count, skipped), err
}

func importHomes(cmd *cobra.Command, r io.Reader, in, out string, o trace.Options) (said string, err error) {
	profile, skipped, unweighted, err := convert.Ofcom(r, in, o)
	if err != nil {
		return "", err
	}
	err = writeOutput(cmd, out, func(w io.Writer) error { return trace.WriteProfile(w, profile) })
	return fmt.Sprintf("%d homes, %d left out (no national weight), %d bad rows skipped", len(profile.Homes.Lines), unweighted, skipped), err
}

func (f *importFlags) importNetwork(cmd *cobra.Command, format string, r io.Reader, in, out string, o trace.Options) (said string, err error) {
	direction := convert.Down
	if f.direction == "up" {
		direction = convert.Up
	}
	var rows []trace.NetworkRow
	var skipped int
	switch format {
	case "sabre":
		rows, skipped, err = convert.Sabre(r, in, direction, o)
	case "pensieve":
		rows, skipped, err = convert.Pensieve(r, in, direction, o)
	default:
		rows, skipped, err = f.mahimahi(r, in, o)
	}
	if err != nil {
		return "", err
	}
	err = writeOutput(cmd, out, func(w io.Writer) error {
		network := trace.WriteNetwork(w)
		for _, row := range rows {
			if err := network.Write(row); err != nil {
				return err
			}
		}
		return nil
	})
	last := rows[len(rows)-1].At
	return fmt.Sprintf("%d rows, %v, %d bad rows skipped", len(rows), last, skipped), err
}

// mahimahi reads IN and the uplink that belongs to it: that of --up, or the one
// beside a downlink.
func (f *importFlags) mahimahi(r io.Reader, in string, o trace.Options) (rows []trace.NetworkRow, skipped int, err error) {
	_, other, isUp := mahimahiPair(in)
	if f.up != "" {
		other = f.up
	} else if _, err := os.Stat(other); isUp || err != nil {
		other = ""
	}
	if other == "" {
		if isUp {
			return convert.Mahimahi(nil, r, in, o)
		}
		return convert.Mahimahi(r, nil, in, o)
	}
	uplink, err := trace.Open(other)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, uplink.Close()) }()
	o.Notice("with the uplink of " + other)
	return convert.Mahimahi(r, uplink, in, o)
}

// mahimahiPair returns what a trace is called without its direction, and the
// file of the other direction; that is empty for a name that tells none.
func mahimahiPair(file string) (base, other string, isUp bool) {
	for _, pair := range [][2]string{{".down", ".up"}, {"-down.pps", "-up.pps"}} {
		if base, ok := strings.CutSuffix(file, pair[0]); ok {
			return base, base + pair[1], false
		}
		if base, ok := strings.CutSuffix(file, pair[1]); ok {
			return base, base + pair[0], true
		}
	}
	return file, "", false
}

// importFolder converts each trace of a folder into one of the folder OUT.
func (f *importFlags) importFolder(cmd *cobra.Command, format, in string) error {
	entries, err := os.ReadDir(in)
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(in, e.Name())) // through links
		if err == nil && info.Mode().IsRegular() && isTraceFile(format, e.Name()) {
			files = append(files, e.Name())
		}
	}
	if len(files) == 0 {
		return usagef("%s: no traces of %s in this folder", in, format)
	}
	if err := os.Mkdir(f.out, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	written := make(map[string]string)
	for _, name := range files {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		base, other, isUp := mahimahiPair(name)
		if format == "mahimahi" && isUp && slices.Contains(files, other) {
			continue // comes with its downlink
		}
		base = strings.TrimSuffix(base, ".gz")
		for _, ext := range []string{".csv", ".json", ".txt", ".log"} {
			base = strings.TrimSuffix(base, ext)
		}
		out := filepath.Join(f.out, base+".csv")
		if before, twice := written[out]; twice {
			return fmt.Errorf("%s and %s of %s would both become %s: rename one of them", before, name, in, out)
		}
		written[out] = name
		if err := f.importFile(cmd, format, filepath.Join(in, name), out); err != nil {
			return err
		}
	}
	return nil
}

// isTraceFile tells the traces of a folder from what else lies there.
func isTraceFile(format, name string) bool {
	plain := strings.TrimSuffix(name, ".gz")
	ext := filepath.Ext(plain)
	switch format {
	case "sabre":
		return ext == ".json" || ext == ".csv"
	case "mahimahi":
		_, other, _ := mahimahiPair(plain)
		return other != "" || ext == ".csv"
	default: // names of their own, often without an extension
		upper := strings.ToUpper(plain)
		return ext != ".md" && !strings.HasPrefix(upper, "README") && !strings.HasPrefix(upper, "LICENSE") && !strings.HasPrefix(upper, ".")
	}
}
