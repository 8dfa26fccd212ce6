package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// settings is what a command with one flag of each kind saw when it ran.
type settings struct {
	listen     string
	cacheBytes int64
	duration   time.Duration
	upload     bool
	origins    []string
	logLevel   string
	ran        bool
}

func settingsCommand(got *settings) *cobra.Command {
	root := &cobra.Command{Use: "shoal", Version: "1"}
	root.PersistentFlags().StringVar(&got.logLevel, "log-level", "info", "how much to log")
	serve := &cobra.Command{
		Use:  "serve",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { got.ran = true; return nil },
	}
	flags := serve.Flags()
	flags.StringVar(&got.listen, "listen", "127.0.0.1:7070", "where to listen")
	flags.Int64Var(&got.cacheBytes, "cache-bytes", 2<<30, "size of the cache")
	flags.DurationVar(&got.duration, "duration", time.Minute, "how long")
	flags.BoolVar(&got.upload, "upload", true, "serve others")
	flags.StringSliceVar(&got.origins, "cors-origin", []string{"none"}, "allowed origins")
	root.AddCommand(serve)
	return root
}

func environment(pairs map[string]string) lookup {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

func defaults() settings {
	return settings{
		listen: "127.0.0.1:7070", cacheBytes: 2 << 30, duration: time.Minute,
		upload: true, origins: []string{"none"}, logLevel: "info", ran: true,
	}
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want func(*settings)
	}{
		{"nothing given", nil, nil, func(*settings) {}},
		{"environment", nil, map[string]string{
			"SHOAL_LISTEN": "[::1]:80", "SHOAL_CACHE_BYTES": "5", "SHOAL_DURATION": "3s", "SHOAL_UPLOAD": "false",
		}, func(s *settings) { s.listen, s.cacheBytes, s.duration, s.upload = "[::1]:80", 5, 3*time.Second, false }},
		{
			"flag over environment",
			[]string{"--listen", ":1", "--upload=true"},
			map[string]string{"SHOAL_LISTEN": ":2", "SHOAL_UPLOAD": "false", "SHOAL_CACHE_BYTES": "7"},
			func(s *settings) { s.listen, s.cacheBytes = ":1", 7 },
		},
		{
			"a flag set to its default still wins",
			[]string{"--cache-bytes", "2147483648"},
			map[string]string{"SHOAL_CACHE_BYTES": "7"},
			func(*settings) {},
		},
		{
			"a list from the environment replaces the default", nil,
			map[string]string{"SHOAL_CORS_ORIGIN": "a,b"},
			func(s *settings) { s.origins = []string{"a", "b"} },
		},
		{
			"a list flag replaces the environment's list",
			[]string{"--cors-origin", "c"},
			map[string]string{"SHOAL_CORS_ORIGIN": "a,b"},
			func(s *settings) { s.origins = []string{"c"} },
		},
		{
			"a flag inherited from the root", nil,
			map[string]string{"SHOAL_LOG_LEVEL": "debug"},
			func(s *settings) { s.logLevel = "debug" },
		},
		{"empty counts as unset", nil, map[string]string{"SHOAL_LISTEN": ""}, func(*settings) {}},
		{
			"names without the prefix, and help, mean nothing", nil,
			map[string]string{"LISTEN": ":9", "SHOAL_HELP": "true", "SHOAL_VERSION": "true"},
			func(*settings) {},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got settings
			var stderr bytes.Buffer
			status := execute(t.Context(), settingsCommand(&got), append([]string{"serve"}, tt.args...), environment(tt.env), &stderr)
			require.Equal(t, exitOK, status, stderr.String())
			want := defaults()
			tt.want(&want)
			require.Equal(t, want, got)
		})
	}
}

func TestRequiredFlagMayComeFromEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env    map[string]string
		status int
	}{
		{map[string]string{"SHOAL_LISTEN": ":1"}, exitOK},
		{nil, exitUsage},
	} {
		var got settings
		root := settingsCommand(&got)
		require.NoError(t, root.Commands()[0].MarkFlagRequired("listen"))
		var stderr bytes.Buffer
		require.Equal(t, tt.status, execute(t.Context(), root, []string{"serve"}, environment(tt.env), &stderr), stderr.String())
		require.Equal(t, tt.status == exitOK, got.ran)
	}
}

func TestBadEnvironmentValueNamesItsVariable(t *testing.T) {
	var got settings
	var stderr bytes.Buffer
	env := environment(map[string]string{"SHOAL_CACHE_BYTES": "lots"})
	require.Equal(t, exitUsage, execute(t.Context(), settingsCommand(&got), []string{"serve"}, env, &stderr))
	require.Contains(t, stderr.String(), `SHOAL_CACHE_BYTES="lots"`)
	require.False(t, got.ran)
}

func TestHelpNamesEachVariableOnce(t *testing.T) {
	var got settings
	var stdout, stderr bytes.Buffer
	root := settingsCommand(&got)
	root.SetOut(&stdout)
	require.Equal(t, exitOK, execute(t.Context(), root, []string{"serve", "--help"}, environment(nil), &stderr))
	for _, name := range []string{"SHOAL_LISTEN", "SHOAL_CACHE_BYTES", "SHOAL_CORS_ORIGIN", "SHOAL_LOG_LEVEL"} {
		require.Equal(t, 1, bytes.Count(stdout.Bytes(), []byte("[$"+name+"]")), "%s in\n%s", name, stdout.String())
	}
	require.NotContains(t, stdout.String(), "SHOAL_HELP")
	require.False(t, got.ran)
}

func TestEnvironmentIsAppliedBeforeACommandsOwnHook(t *testing.T) {
	var got settings
	var seen string
	root := settingsCommand(&got)
	root.Commands()[0].PreRunE = func(*cobra.Command, []string) error { seen = got.listen; return nil }
	var stderr bytes.Buffer
	env := environment(map[string]string{"SHOAL_LISTEN": ":5"})
	require.Equal(t, exitOK, execute(t.Context(), root, []string{"serve"}, env, &stderr), stderr.String())
	require.Equal(t, ":5", seen)
}
