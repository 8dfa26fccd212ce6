package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"shoal/engine/manifest"
)

const (
	// originBurst is what the origin sends at once: two datagrams' worth of
	// TCP segments, small against a segment of video.
	originBurst = 16 << 10

	// originStatsPath tells what was sent; no title has such a name.
	originStatsPath = "/.shoal-demo/stats"
)

// demoOriginCommand is the CDN of the demo, a process of its own.
func demoOriginCommand() *cobra.Command {
	var o demoOrigin
	var listen string
	var mbits float64
	cmd := &cobra.Command{
		Use:    "origin",
		Short:  "Serve a folder as a CDN would: ranges, ETags, a limited rate",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.limiter = rate.NewLimiter(rate.Limit(mbits*1e6/8), originBurst)
			return runDemoOrigin(cmd, &o, listen)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:0", "TCP address")
	flags.StringVar(&o.dir, "dir", ".", "folder to serve")
	flags.StringVar(&o.title, "title", "", "file to serve as /"+manifest.FileName)
	flags.Float64Var(&mbits, "rate", demoRate, "Mbit/s, all connections together")
	flags.DurationVar(&o.latency, "latency", demoLatency, "time until an answer begins")
	return cmd
}

func runDemoOrigin(cmd *cobra.Command, o *demoOrigin, listen string) error {
	root, err := os.OpenRoot(o.dir) // symbolic links do not lead out of it
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	o.files = root.FS()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: o, ReadHeaderTimeout: 10 * time.Second}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "http://%s\n", listener.Addr()); err != nil {
		return err
	}
	stop := context.AfterFunc(cmd.Context(), func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// demoOrigin is the handler.
type demoOrigin struct {
	// constant
	dir, title string
	files      fs.FS
	limiter    *rate.Limiter
	latency    time.Duration

	bytes, requests atomic.Int64
}

// originStats is what was sent since the start: bodies, and requests.
type originStats struct {
	Bytes    int64 `json:"bytes"`
	Requests int64 `json:"requests"`
}

func (o *demoOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == originStatsPath {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(originStats{o.bytes.Load(), o.requests.Load()})
		return
	}
	o.requests.Add(1)
	select {
	case <-time.After(o.latency):
	case <-r.Context().Done():
		return
	}
	f, err := o.open(strings.TrimPrefix(path.Clean(r.URL.Path), "/"))
	if err != nil {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	content, seekable := f.(io.ReadSeeker)
	if err != nil || info.IsDir() || !seekable {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	w.Header().Set("Etag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	if ct := mediaType(r.URL.Path); ct != "" {
		w.Header().Set("Content-Type", ct)
	}
	http.ServeContent(&limitedWriter{ResponseWriter: w, ctx: r.Context(), origin: o}, r, info.Name(), info.ModTime(), content)
}

func (o *demoOrigin) open(name string) (fs.File, error) {
	if name == manifest.FileName && o.title != "" {
		return os.Open(o.title)
	}
	return o.files.Open(name)
}

func mediaType(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".m3u8":
		return "application/vnd.apple.mpegurl"
	case ".m4s":
		return "video/iso.segment"
	case ".mp4":
		return "video/mp4"
	case ".ts":
		return "video/mp2t"
	case ".shoal":
		return "application/octet-stream"
	default:
		return mime.TypeByExtension(ext)
	}
}

// limitedWriter sends no faster than all connections together may. It hides the
// server's ReadFrom, which would send a file past it.
type limitedWriter struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // the request's, for as long as it lasts
	origin *demoOrigin
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		part := b[:min(len(b), originBurst/2)]
		if err := w.origin.limiter.WaitN(w.ctx, len(part)); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(part)
		written += n
		w.origin.bytes.Add(int64(n))
		if err != nil {
			return written, err
		}
		b = b[len(part):]
	}
	return written, nil
}

// originStats asks the origin what it has sent so far.
func (d *demo) originStats(ctx context.Context) (originStats, error) {
	var s originStats
	err := getJSON(ctx, d.origin+originStatsPath, &s)
	return s, err
}

// loopback makes the demo's own requests: no proxy, and nothing that hangs.
var loopback = &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}

func getJSON(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := loopback.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(v)
}
