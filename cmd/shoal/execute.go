package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit statuses of every command.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// A usageError says that the command line, not the work, was wrong.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef is for commands that find out only while running that their flags do
// not make sense together.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// execute runs the command that args name under root and returns its exit
// status. A failure becomes one line on stderr.
func execute(ctx context.Context, root *cobra.Command, args []string, env lookup, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	started := false
	eachCommand(root, func(cmd *cobra.Command) {
		bindEnv(cmd, env)
		markStart(cmd, &started)
	})
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	// One line, whatever cobra's suggestions or a wrapped error look like.
	line := strings.Join(strings.Fields(err.Error()), " ")
	// Everything that fails before a command starts to run is about its arguments.
	if errors.As(err, new(usageError)) || !started {
		_, _ = fmt.Fprintf(stderr, "%s: %s (see: %s --help)\n", cmd.CommandPath(), line, cmd.CommandPath())
		return exitUsage
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		line = "interrupted"
	}
	_, _ = fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), line)
	return exitFailure
}

func markStart(cmd *cobra.Command, started *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
}

func eachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		eachCommand(child, visit)
	}
}
