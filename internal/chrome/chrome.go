// Package chrome drives a headless Chromium for end-to-end tests and for
// measurements: it finds and starts the browser with a fresh profile, opens tabs
// that share nothing with each other, and remembers what each page wrote to its
// console and asked of the network.
//
// It knows nothing of shoal, and asserts nothing. A Browser may be used by
// several goroutines, a Tab by one at a time; what a Tab remembers may be read
// from any. Close ends the browser's processes and removes the profile; the
// browser also ends with the thread that started it, where the system can do that.
package chrome

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

// ErrMissing says that no browser was found.
var ErrMissing = errors.New("no Chromium on the PATH: run make deps, or install it")

// programs are the names under which systems install the browser.
var programs = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// startTimeout bounds the start, which takes about a second, and many times that
// on a busy machine that has not read the browser from its disk yet.
const startTimeout = 2 * time.Minute

// flags make a browser that plays without a gesture, is as fast in the
// background as in front, and asks nothing of the internet by itself.
var flags = map[string]any{
	"headless": true, "no-sandbox": true, "disable-gpu": true, "disable-quic": true,
	"no-first-run": true, "no-default-browser-check": true,
	"disable-background-networking": true, "disable-component-update": true, "disable-sync": true,
	"disable-default-apps": true, "disable-extensions": true, "disable-breakpad": true,
	"disable-domain-reliability": true, "disable-client-side-phishing-detection": true, "metrics-recording-only": true,
	"disable-dev-shm-usage": true, "hide-scrollbars": true, "mute-audio": true, "force-color-profile": "srgb",
	"password-store": "basic", "use-mock-keychain": true, "no-proxy-server": true,
	"autoplay-policy":                        "no-user-gesture-required",
	"disable-background-timer-throttling":    true,
	"disable-renderer-backgrounding":         true,
	"disable-backgrounding-occluded-windows": true,
}

// Find returns the browser's program, or ErrMissing.
func Find() (string, error) {
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}

// Browser is a running browser.
type Browser struct {
	ctx    context.Context //nolint:containedctx // chromedp keeps the browser in it; ended by Close
	cancel []context.CancelFunc
}

// Start starts a browser that lives until Close or the end of ctx. Switches are
// further command-line switches, "name" or "name=value".
func Start(ctx context.Context, switches ...string) (*Browser, error) {
	program, err := Find()
	if err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(program), chromedp.WSURLReadTimeout(startTimeout)}
	for name, value := range flags {
		options = append(options, chromedp.Flag(name, value))
	}
	for _, s := range switches {
		name, value, valued := strings.Cut(strings.TrimLeft(s, "-"), "=")
		if valued {
			options = append(options, chromedp.Flag(name, value))
		} else {
			options = append(options, chromedp.Flag(name, true))
		}
	}
	b := &Browser{}
	allocator, cancel := chromedp.NewExecAllocator(ctx, options...)
	b.cancel = append(b.cancel, cancel)
	silent := func(string, ...any) {} // what matters comes back as an error
	b.ctx, cancel = chromedp.NewContext(allocator, chromedp.WithLogf(silent), chromedp.WithErrorf(silent))
	b.cancel = append(b.cancel, cancel)

	// The context of the first call is the browser's life, so that a time limit
	// has to end it from outside.
	limit := time.AfterFunc(startTimeout, cancel)
	err = chromedp.Do(b.ctx)
	if !limit.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return b, nil
}

// Close ends the browser and waits for its processes.
func (b *Browser) Close() {
	for i := len(b.cancel) - 1; i >= 0; i-- {
		b.cancel[i]()
	}
}
