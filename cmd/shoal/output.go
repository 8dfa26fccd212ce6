package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// stdout is the name that stands for standard output.
const stdout = "-"

// writeOutput writes what a flag named: stdout, a pipe or a device as it comes, and
// a file in one step, so that a failure half-way leaves what was there. A name that
// ends in .gz is gzipped.
func writeOutput(cmd *cobra.Command, name string, write func(io.Writer) error) error {
	if name == stdout {
		return encode(cmd.OutOrStdout(), name, write)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(encode(f, name, write), f.Close())
	}
	return replaceFile(name, write)
}

// replaceFile writes beside the file and then takes its place; a link's target's,
// where name is one.
func replaceFile(name string, write func(io.Writer) error) (err error) {
	target, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = name, nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(target), ".shoal-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(temp.Close()), os.Remove(temp.Name()))
		}
	}()
	if err := encode(temp, name, write); err != nil {
		return err
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(temp.Name(), target); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// encode buffers, and zips if the name says so.
func encode(out io.Writer, name string, write func(io.Writer) error) error {
	buffered := bufio.NewWriterSize(out, 64<<10)
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
	if err := finish(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// sayWrote tells what came of an output; not between the lines of one that goes to
// stdout itself.
func sayWrote(cmd *cobra.Command, name, what string) error {
	out := cmd.OutOrStdout()
	if name == stdout {
		out, name = cmd.ErrOrStderr(), "it to standard output"
	}
	_, err := fmt.Fprintf(out, "wrote %s: %s\n", name, what)
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
