package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/grafana/pyroscope-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"shoal/cc"
	"shoal/engine"
	"shoal/engine/proxy"
)

// peerFlags are the settings of shoal peer.
type peerFlags struct {
	listen, udp     string
	origin, tracker string
	cache           string
	cacheBytes      byteSize
	upload, offload onOff
	uploadLimit     float64
	uploadVolume    byteSize
	uploadYield     onOff
	metered         bool
	cors, hosts     []string
	titles          []string
	record          string
	pyroscope       string
	logLevel        string
	logFormat       string
	name            string
}

func peerCommand() *cobra.Command {
	f := peerFlags{upload: true, offload: true}
	cmd := &cobra.Command{
		Use:   "peer",
		Short: "Run a node beside a video player",
		Long:  peerHelp,
		Example: `  shoal peer --origin https://cdn.example/vod --tracker quic://tracker.example:7000
  mpv http://127.0.0.1:7070/film/master.m3u8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPeer(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:7070", "TCP address for players")
	flags.StringVar(&f.udp, "udp", ":0", "UDP address for other peers")
	flags.StringVar(&f.origin, "origin", "", "URL prefix of the CDN (required)")
	flags.StringVar(&f.tracker, "tracker", "", "tracker, quic://HOST:PORT or quic://HOST:PORT#FINGERPRINT; without one everything comes from the CDN")
	flags.StringVar(&f.cache, "cache", "", "folder for pieces; without it they are kept in memory")
	flags.Var(&f.cacheBytes, "cache-bytes", "size of the cache, e.g. 500MB or 2GiB (default 2GiB in a folder, 256MiB in memory)")
	flags.Var(&f.upload, "upload", "serve other viewers, on or off")
	flags.Float64Var(&f.uploadLimit, "upload-limit", 0, "most `MBIT` per second that others are sent (default: no bound)")
	flags.Var(&f.uploadVolume, "upload-volume", "most that others are sent in 24 hours, e.g. 10GB (default: no bound)")
	flags.Var(&f.uploadYield, "upload-yield", "give way to whoever else fills the uplink, on or off; costs uploads on lines of a few Mbit/s")
	flags.BoolVar(&f.metered, "metered", false, "the line is paid by volume: serve nobody")
	flags.Var(&f.offload, "udp-offload", "let the kernel split and join datagrams, on or off; off where that loses packets (Linux 7.0 to 7.1.4)")
	flags.StringSliceVar(&f.cors, "cors", nil, "web origins whose pages may play through this node, e.g. https://player.example")
	flags.StringSliceVar(&f.hosts, "allow-host", nil, "further host names under which this node answers")
	recordFlag(flags, &f.record)
	flags.StringSliceVar(&f.titles, "title", nil, "path on the CDN that the viewer page offers, e.g. film/master.m3u8; may be repeated")
	flags.StringVar(&f.pyroscope, "pyroscope", "", "Pyroscope server to send profiles to")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.name, "name", "", "name shown on dashboards (default: the beginning of the peer's ID)")
	return cmd
}

const peerHelp = `Run a node beside a video player.

The player opens http://127.0.0.1:7070/<path on the origin> instead of the
CDN's URL. What a title.shoal beside the media or in a folder above describes
comes from other viewers where they have it in time; everything else passes
through to the origin. http://127.0.0.1:7070/ plays in a browser and shows live
where the bytes come from; the same is at /api/status and /metrics for programs.`

// shutdownTimeout bounds how long answers under way may take after a signal; a
// player notices the end of its node either way.
const shutdownTimeout = 2 * time.Second

func runPeer(cmd *cobra.Command, f peerFlags) (err error) {
	log, err := newLogger(cmd.ErrOrStderr(), f.logLevel, f.logFormat)
	if err != nil {
		return err
	}
	base, err := url.Parse(f.origin)
	if f.origin == "" || err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return usagef("--origin %q: give the URL prefix of the CDN, e.g. https://cdn.example/vod", f.origin)
	}
	if !(f.uploadLimit >= 0) || math.IsInf(f.uploadLimit, 1) {
		return usagef("--upload-limit %v: give Mbit/s, e.g. 2.5; --upload off serves nobody", f.uploadLimit)
	}
	titles, err := titlePaths(f.titles, f.origin)
	if err != nil {
		return err
	}
	listener, err := listen(cmd.Context(), f.listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // a second close of what the server has closed
	if f.pyroscope != "" {
		profiler, err := startProfiler(f, log)
		if err != nil {
			return fmt.Errorf("pyroscope: %w", err)
		}
		defer func() { err = errors.Join(err, profiler.Stop()) }()
	}
	e, err := engine.New(engine.Config{
		Origin: f.origin, Tracker: f.tracker, UDP: f.udp, CacheDir: f.cache, CacheBytes: int64(f.cacheBytes),
		NoUpload: !bool(f.upload) || f.metered, NoOffload: !bool(f.offload), Logger: log, Name: f.name,
		Uploads: cc.Uploads{MaxBytesPerSec: f.uploadLimit * 1e6 / 8, MaxBytesPerDay: int64(f.uploadVolume), Yield: bool(f.uploadYield)},
	})
	if err != nil {
		return err
	}
	stopRecording, err := startRecording(f.record, e, log)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	handler := proxy.New(proxy.Config{
		Engine: e, Origins: f.cors, Hosts: f.hosts, Base: base, Logger: log, Registry: registry,
		Version: buildVersion(), Titles: titles,
	})
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(handler.EndLive)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if _, err = fmt.Fprintf(cmd.OutOrStdout(), "http://%s/\n", listener.Addr()); err == nil {
		select {
		case <-cmd.Context().Done():
		case err = <-served:
		}
	}
	return errors.Join(err, stopRecording(), stopPeer(server, handler, e))
}

// titlesMax is how many titles a node's page lists.
const titlesMax = 64

// titlePaths turns the values of --title, paths or URLs below the origin, into
// paths.
func titlePaths(values []string, origin string) ([]string, error) {
	if len(values) > titlesMax {
		return nil, usagef("--title: %d are too many, choose at most %d", len(values), titlesMax)
	}
	prefix := strings.TrimSuffix(origin, "/") + "/"
	var out []string
	for _, v := range values {
		p, below := strings.CutPrefix(v, prefix)
		if below {
			if unescaped, err := url.PathUnescape(p); err == nil {
				p = unescaped
			}
		}
		p = strings.TrimLeft(p, "/")
		if p == "" || strings.Contains(p, "://") || slices.Contains(strings.Split(p, "/"), "..") {
			return nil, usagef("--title %q: give a path below --origin, e.g. film/master.m3u8", v)
		}
		out = append(out, p)
	}
	return out, nil
}

// stopPeer ends in the order in which the parts depend on each other: answers
// under way still need the engine.
func stopPeer(server *http.Server, handler *proxy.Proxy, e *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close() // players that still read are cut off
	}
	return errors.Join(handler.Close(), e.Close())
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use, perhaps by another node: choose another address with --listen, e.g. --listen 127.0.0.1:0", address)
	case err != nil:
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return l, nil
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, usagef("--log-format %q: use text or json", format)
	}
}

// startProfiler sends profiles of this process; an unreachable server is logged
// at debug level and costs nothing else.
func startProfiler(f peerFlags, log *slog.Logger) (*pyroscope.Profiler, error) {
	tags := map[string]string{}
	if f.name != "" {
		tags["name"] = f.name
	}
	return pyroscope.Start(pyroscope.Config{
		ApplicationName: "shoal.peer",
		Tags:            tags,
		ServerAddress:   f.pyroscope,
		Logger:          profilerLog{log.With(slog.String("part", "pyroscope"))},
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU, pyroscope.ProfileInuseSpace, pyroscope.ProfileAllocSpace, pyroscope.ProfileGoroutines,
		},
	})
}

// profilerLog takes the library's printf-style lines.
type profilerLog struct{ log *slog.Logger }

func (p profilerLog) Infof(format string, args ...any)  { p.line(format, args) }
func (p profilerLog) Debugf(format string, args ...any) { p.line(format, args) }
func (p profilerLog) Errorf(format string, args ...any) { p.line(format, args) }

func (p profilerLog) line(format string, args []any) {
	p.log.Debug("profiler", slog.String("said", fmt.Sprintf(format, args...)))
}

// onOff is a flag that people write as on and off, and programs as true and false.
type onOff bool

func (v *onOff) String() string {
	if *v {
		return "on"
	}
	return "off"
}

func (v *onOff) Type() string { return "on|off" }

// Set implements pflag.Value.
func (v *onOff) Set(s string) error {
	switch strings.ToLower(s) {
	case "on", "true", "yes", "1":
		*v = true
	case "off", "false", "no", "0":
		*v = false
	default:
		return fmt.Errorf("%q is neither on nor off", s)
	}
	return nil
}

// byteSize is a flag for sizes: 1000, 500MB, 2GiB.
type byteSize int64

// byteUnits are decimal and binary, longest suffix first.
var byteUnits = []struct {
	suffix string
	bytes  int64
}{
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"tib", 1 << 40},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"tb", 1e12},
	{"k", 1e3},
	{"m", 1e6},
	{"g", 1e9},
	{"t", 1e12},
	{"b", 1},
}

func (v *byteSize) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

func (v *byteSize) Type() string { return "size" }

// Set implements pflag.Value.
func (v *byteSize) Set(s string) error {
	number, unit := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	// The bound keeps the product inside an int64.
	if err != nil || !(n > 0) || n*float64(unit) >= 1<<62 {
		return fmt.Errorf("%q is not a size like 1000, 500MB or 2GiB", s)
	}
	*v = byteSize(n * float64(unit))
	return nil
}
