package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the name of every environment variable we read.
const envPrefix = "SHOAL_"

// lookup is os.LookupEnv or a test's own environment.
type lookup func(name string) (value string, ok bool)

// envName is the variable of a flag: --cache-bytes is SHOAL_CACHE_BYTES.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// bindEnv makes each flag of cmd readable from its environment variable and
// says so in the help text. A flag given on the command line wins; an empty
// variable counts as unset, as container tools pass one for each name they know.
func bindEnv(cmd *cobra.Command, env lookup) {
	document := func(f *pflag.Flag) { f.Usage += " [$" + envName(f.Name) + "]" }
	cmd.LocalNonPersistentFlags().VisitAll(document)
	cmd.PersistentFlags().VisitAll(document)

	before, beforeE := cmd.PreRun, cmd.PreRunE
	// Not earlier: a list flag set before parsing would be added to by the
	// command line instead of replaced. Not later: cobra checks for required
	// flags right after this hook.
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := applyEnv(cmd.Flags(), env); err != nil {
			return err
		}
		switch {
		case beforeE != nil:
			return beforeE(cmd, args)
		case before != nil:
			before(cmd, args)
		}
		return nil
	}
}

func applyEnv(flags *pflag.FlagSet, env lookup) error {
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		value, ok := env(envName(f.Name))
		if !ok || value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			first = usageError{fmt.Errorf("environment variable %s=%q: %w", envName(f.Name), value, err)}
		}
	})
	return first
}
