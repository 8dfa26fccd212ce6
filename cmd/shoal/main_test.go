package main

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestEveryCommandAndFlagExplainsItself(t *testing.T) {
	names := map[string]bool{}
	eachCommand(rootCommand(), func(cmd *cobra.Command) {
		names[cmd.Name()] = true
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		if cmd.HasParent() {
			require.NotNil(t, cmd.RunE, "%s: failures must reach the exit status", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			require.NotEmpty(t, f.Usage, "%s --%s", cmd.CommandPath(), f.Name)
		})
	})
	for _, want := range []string{"peer", "tracker", "pack", "demo", "version"} {
		require.Contains(t, names, want)
	}
}

func TestVersionIsPrintedByCommandAndFlag(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		var stdout, stderr bytes.Buffer
		root := rootCommand()
		root.SetOut(&stdout)
		require.Equal(t, exitOK, execute(t.Context(), root, []string{arg}, environment(nil), &stderr), stderr.String())
		require.Regexp(t, `^shoal \S+ go\S+ \w+/\w+\n$`, stdout.String())
	}
}
