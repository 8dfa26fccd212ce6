package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/bench/plot"
	"shoal/cc"
)

// The table stands between these lines of the document.
const (
	documentPath = "docs/congestion-control.md"

	markBegin = "<!-- bench/link table: begin -->"
	markEnd   = "<!-- bench/link table: end -->"
)

// checkMarks tells before an hour of measuring whether there is a place for it.
func checkMarks(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return usageError{fmt.Errorf("%w; run this command from the repository's root, or name a file with --docs", err)}
	}
	_, _, _, err = cutMarks(string(text))
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", path, err)}
	}
	return nil
}

// cutMarks splits a document around what is between the marks.
func cutMarks(text string) (before, between, after string, err error) {
	before, rest, begun := strings.Cut(text, markBegin)
	between, after, ended := strings.Cut(rest, markEnd)
	if !begun || !ended {
		return "", "", "", errors.New("the lines " + markBegin + " and " + markEnd + " are missing")
	}
	return before, between, after, nil
}

// printTable prints the section of the document that begins with the table: what else was
// measured stands behind it.
func printTable(w io.Writer, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w; run this command from the repository's root", err)
	}
	_, between, after, err := cutMarks(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	section, _, _ := strings.Cut(between+after, "\n## ")
	_, err = io.WriteString(w, strings.TrimLeft(section, "\n"))
	return err
}

// writeTable puts the verdicts into the document.
func writeTable(path string, verdicts []verdict, command, disturbances string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, after, err := cutMarks(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+markBegin+"\n"+markdown(verdicts, command, disturbances, time.Now())+markEnd+after), 0o644)
}

// markdown is the table and, below it, every figure.
func markdown(verdicts []verdict, command, disturbances string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`, %s; medians. Where a target has several figures, the one with the least margin.\n\n",
		command, now.Format(time.DateOnly))
	b.WriteString("| target | figure | | `go run ./bench/link run …` |\n|---|---|---|---|\n")
	for _, v := range verdicts {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", v.row.target, v.worst(), v.word(), v.worst().command)
	}
	for _, image := range images {
		fmt.Fprintf(&b, "\n![%s](images/%s)\n", image.title, image.file)
	}
	fmt.Fprintf(&b, "\n%s\n\nAll figures:\n\n", disturbances)
	for _, v := range verdicts {
		parts := make([]string, len(v.checks))
		for i, c := range v.checks {
			parts[i] = c.String()
			if !c.holds() {
				parts[i] = "**" + parts[i] + "**"
			}
		}
		fmt.Fprintf(&b, "- %s: %s.\n", v.row.name, strings.Join(parts, "; "))
	}
	b.WriteString("\n")
	return b.String()
}

// images show the window over time, ours and the kernel's, on links of the table.
var images = []struct{ file, title, link string }{
	{"window-jitter.svg", "The window at ±20 ms of jitter", windowLink},
	{"window-jitter-loss.svg", "The window at ±20 ms of jitter and 3 % loss", jitterLossLink},
}

// writePlots draws the images.
func (m *measurer) writePlots(folder string) (err error) {
	m.seed = 1
	for _, image := range images {
		err = errors.Join(err, m.plotWindow(filepath.Join(folder, image.file), image.title, image.link))
	}
	return err
}

func (m *measurer) plotWindow(path, title, link string) error {
	p := plot.Plot{Title: title, X: "seconds", Y: "window in packets of 1,108 bytes"}
	for class, args := range []string{link + "shoal-fast", link + "tcp-cubic"} {
		f := m.of(args).flow(0)
		c := plot.Curve{Name: f.Flow, Class: class}
		for _, at := range f.Window {
			c.Add(at[0], at[1]/cc.PacketBytes)
		}
		p.Curves = append(p.Curves, c)
	}
	if m.err != nil {
		return m.err
	}
	return writeImage(path, &p)
}

func writeImage(path string, p *plot.Plot) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return p.WriteSVG(f)
}
