package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"shoal/bench/emulator"
	"shoal/internal/chrome"
)

// browseEvery is how often a browser's page is asked what its viewer sees.
const browseEvery = 250 * time.Millisecond

// browserSwitch lets pages find each other: a browser hides the addresses of its
// host behind names that need multicast DNS.
const browserSwitch = "disable-features=WebRtcHideLocalIpsWithMdns"

// playSignal opens the page.
const playSignal = syscall.SIGUSR1

// capturing lets a page see all addresses of its host. Without it the page has
// the one of the default route, which an emulated host lacks.
var capturing = []string{"microphone", "camera"}

// browseOptions are of the process of a browser.
type browseOptions struct {
	url, tracker     string
	modules, profile string // folders
	nice             int
}

// browseTitle is the process of a viewer with p2p-media-loader. The page comes
// over loopback, so that it costs the access line nothing. The browser is there
// before the viewer comes, who comes with playSignal. It reports until it is
// ended.
func browseTitle(ctx context.Context, o browseOptions, out io.Writer) error {
	play := make(chan os.Signal, 1)
	signal.Notify(play, playSignal)
	page, err := servePage(ctx, o.modules)
	if err != nil {
		return err
	}
	browser, err := chrome.Start(ctx, browserSwitch, "user-data-dir="+o.profile)
	if err != nil {
		return err
	}
	defer browser.Close()
	tab, err := browser.Tab()
	if err != nil {
		return err
	}
	for _, permission := range capturing {
		if err := tab.Permit(permission, page); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	select {
	case <-play:
	case <-ctx.Done():
		return ctx.Err()
	}
	query := url.Values{"url": {o.url}, "tracker": {o.tracker}}
	if err := tab.Open(page + "/page.html?" + query.Encode()); err != nil {
		return err
	}
	tick := time.NewTicker(browseEvery)
	defer tick.Stop()
	prefer := time.NewTicker(preferEvery)
	defer prefer.Stop()
	lines := json.NewEncoder(out)
	for {
		select {
		case <-tick.C:
			report, err := chrome.Eval[rivalReport](tab, "report()")
			if err != nil {
				return fmt.Errorf("%w; the page says %q", err, tab.Errors())
			}
			if err := lines.Encode(report); err != nil {
				return err
			}
		case <-prefer.C:
			preferSession(os.Getpid(), o.nice)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// preferEvery is how often a browser's threads get their niceness back.
const preferEvery = 3 * time.Second

// preferSession gives all threads of a session a niceness: a browser chooses one
// for its parts by itself, and what else runs on the machine would be measured.
// Threads that have just ended, and niceness that is not allowed, are passed over.
func preferSession(leader, nice int) {
	for _, pid := range sessionProcesses(leader) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			continue // never: the pattern is right
		}
		for _, thread := range threads {
			if id, err := strconv.Atoi(filepath.Base(thread)); err == nil {
				_ = unix.Setpriority(unix.PRIO_PROCESS, id, nice)
			}
		}
	}
}

// servePage serves the page and the programs that it loads.
func servePage(ctx context.Context, dir string) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	files := http.NewServeMux()
	files.HandleFunc("GET /page.html", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, "page.html"))
	})
	files.Handle("GET /modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir(filepath.Join(dir, "node_modules")))))
	go func() { _ = (&http.Server{Handler: files, ReadHeaderTimeout: readyWithin}).Serve(l) }() // ends with the process
	return "http://" + l.Addr().String(), nil
}

// serveTitle is the process of an origin that any page may ask for ranges.
func serveTitle(ctx context.Context, dir, addr string, out io.Writer) error {
	config := net.ListenConfig{Control: emulator.Congestion(originCongestion)}
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "http://%s\n", l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	return (&http.Server{ReadHeaderTimeout: readyWithin, Handler: titleHandler(dir)}).Serve(l)
}

func titleHandler(dir string) http.Handler {
	files := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "Range")
		w.Header().Set("Access-Control-Expose-Headers", "Content-Length, Content-Range")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		files.ServeHTTP(w, r)
	})
}
