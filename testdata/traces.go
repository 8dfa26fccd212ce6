package testdata

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed profiles/*.json
var profiles embed.FS

//go:embed traces/*.csv
var traces embed.FS

// Profiles is the folder of profiles: what a trace does not say is drawn from
// one of them. Each names the published source of its numbers.
func Profiles() fs.FS { return below(profiles, "profiles") }

// Traces is the folder of small synthetic traces. shoal trace generate made
// them; what is replayed when no trace is given.
func Traces() fs.FS { return below(traces, "traces") }

func below(files embed.FS, folder string) fs.FS {
	sub, err := fs.Sub(files, folder)
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded folder: %v", err)) // the name is a valid path
	}
	return sub
}
