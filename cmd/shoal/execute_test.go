package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func failingCommand(err error) *cobra.Command {
	root := &cobra.Command{Use: "shoal"}
	root.AddCommand(&cobra.Command{
		Use:  "work",
		Args: cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error { return err },
	})
	return root
}

func TestExitStatusAndOneLineOnStderr(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		args   []string
		status int
		line   string
	}{
		{"success", nil, []string{"work", "x"}, exitOK, ""},
		{"failure", errors.New("the disk is gone"), []string{"work", "x"}, exitFailure, "shoal work: the disk is gone\n"},
		{
			"a failure of several lines becomes one",
			errors.Join(errors.New("first"), errors.New("second")),
			[]string{"work", "x"},
			exitFailure, "shoal work: first second\n",
		},
		{
			"wrong usage found while running",
			fmt.Errorf("start: %w", usagef("--origin is missing")),
			[]string{"work", "x"},
			exitUsage, "shoal work: start: --origin is missing (see: shoal work --help)\n",
		},
		{
			"missing argument", nil,
			[]string{"work"},
			exitUsage, "shoal work: accepts 1 arg(s), received 0 (see: shoal work --help)\n",
		},
		{
			"unknown flag", nil,
			[]string{"work", "--colour"},
			exitUsage, "shoal work: unknown flag: --colour (see: shoal work --help)\n",
		},
		{
			"misspelt command", nil,
			[]string{"wark"},
			exitUsage, "shoal: unknown command \"wark\" for \"shoal\" Did you mean this? work (see: shoal --help)\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			status := execute(t.Context(), failingCommand(tt.err), tt.args, environment(nil), &stderr)
			require.Equal(t, tt.status, status)
			require.Equal(t, tt.line, stderr.String())
		})
	}
}

func TestInterruptedCommandSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	root := failingCommand(fmt.Errorf("hash a.mp4: %w", context.Canceled))
	require.Equal(t, exitFailure, execute(ctx, root, []string{"work", "x"}, environment(nil), &stderr))
	require.Equal(t, "shoal work: interrupted\n", stderr.String())

	stderr.Reset()
	require.Equal(t, exitFailure, execute(t.Context(), root, []string{"work", "x"}, environment(nil), &stderr))
	require.True(t, strings.Contains(stderr.String(), "hash a.mp4"), "nobody interrupted this one: %s", stderr.String())
}
