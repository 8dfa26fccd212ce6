package chrome

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// callTimeout bounds one command to the browser: a page whose own script
	// hangs must not hang the caller.
	callTimeout = time.Minute

	// pollEvery is how often Wait looks.
	pollEvery = 20 * time.Millisecond

	// rememberedMax bounds what a tab remembers of each kind; a minute of
	// playback makes some hundred requests.
	rememberedMax = 10_000
)

// Request is what a page asked of the network.
type Request struct {
	URL    string
	Kind   string // Document, Script, XHR, Fetch, Media, EventSource…
	Status int    // 0: not answered
	Failed string // the browser's error; empty when it did not fail
	// Canceled requests failed because the page itself gave them up.
	Canceled bool
}

// Tab is a page in a browser context of its own: no cache, cookies or storage
// are shared with other tabs.
type Tab struct {
	ctx    context.Context //nolint:containedctx // chromedp keeps the tab in it; ended by Close
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	errors   []string
	requests []*Request
	byID     map[network.RequestID]*Request
}

// Tab opens an empty tab.
func (b *Browser) Tab() (*Tab, error) {
	t := &Tab{byID: make(map[network.RequestID]*Request)}
	t.ctx, t.cancel = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(t.note))
	if err := chromedp.Do(t.ctx, command(network.Enable, network.EnableParams{})); err != nil {
		t.cancel()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	return t, nil
}

// Close closes the tab and forgets what its pages stored.
func (t *Tab) Close() { t.cancel() }

// note remembers an event. It runs on chromedp's goroutine and must not block.
func (t *Tab) note(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		t.complain(text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, strings.Trim(string(a.Value), `"`)+a.Description)
			}
			t.complain(strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			t.complain(strings.TrimSpace(e.Entry.Text + " " + e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if len(t.requests) < rememberedMax && !strings.HasPrefix(e.Request.URL, "data:") {
			r := &Request{URL: e.Request.URL, Kind: string(e.Type)}
			t.requests, t.byID[e.RequestID] = append(t.requests, r), r
		}
	case *network.EventResponseReceived:
		if r := t.byID[e.RequestID]; r != nil {
			r.Status = int(e.Response.Status)
		}
	case *network.EventLoadingFailed:
		if r := t.byID[e.RequestID]; r != nil {
			r.Failed, r.Canceled = e.ErrorText, e.Canceled
		}
	}
}

// complain is called with mu held.
func (t *Tab) complain(text string) {
	if len(t.errors) < rememberedMax {
		t.errors = append(t.errors, text)
	}
}

// Errors are the console's so far: uncaught exceptions, unhandled rejections,
// console.error, and what the browser itself reports (failed requests, CSP).
func (t *Tab) Errors() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.errors...)
}

// Requests are those of the tab so far, in order.
func (t *Tab) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Request, len(t.requests))
	for i, r := range t.requests {
		list[i] = *r
	}
	return list
}

// Open loads a page and waits for its load event.
func (t *Tab) Open(url string) error {
	if err := t.do(chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("open %s: %w", url, err)
	}
	return nil
}

// Viewport sets the page's size in CSS pixels; a phone also has touch, and two
// device pixels per CSS pixel.
func (t *Tab) Viewport(width, height int64, phone bool) error {
	if phone {
		return t.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch))
	}
	return t.do(chromedp.EmulateViewport(width, height))
}

// Media sets CSS media features, e.g. "prefers-color-scheme", "dark".
func (t *Tab) Media(feature, value string) error {
	return t.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	}))
}

// Permit answers a permission prompt, e.g. "loopback-network", before it is
// shown. A headless browser has nobody to ask, and denies what is not permitted.
func (t *Tab) Permit(permission, origin string) error {
	ctx, cancel := context.WithTimeout(t.ctx, callTimeout)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: permission}, Setting: browser.PermissionSettingGranted,
		Origin: origin, BrowserContextID: chromedp.FromContext(t.ctx).BrowserContextID,
	})
	return err
}

// Press sends keys to what has the focus.
func (t *Tab) Press(keys string) error { return t.do(chromedp.KeyEvent(keys)) }

// Screenshot writes the whole page as a PNG file, and makes its folder.
func (t *Tab) Screenshot(path string) error {
	ctx, cancel := context.WithTimeout(t.ctx, callTimeout)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)) // 100 is PNG
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}

// Wait waits until an expression, or the promise that it is, is true in the page.
func (t *Tab) Wait(expression string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		met, err := Eval[bool](t, "(async () => !!await ("+expression+"))()")
		switch {
		case err == nil && met:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v: %s (%v)", limit, expression, err) //nolint:errorlint // err may be nil
		case t.ctx.Err() != nil:
			return t.ctx.Err()
		}
		<-tick.C
	}
}

// Eval evaluates an expression in the page, awaiting a promise. T is what its
// value becomes, by way of JSON.
func Eval[T any](t *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(t.ctx, callTimeout)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func (t *Tab) do(step chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(t.ctx, callTimeout)
	defer cancel()
	return chromedp.Do(ctx, step)
}

// command makes an action of a protocol command whose answer says nothing.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// Nothing is the value of an expression whose value does not matter.
type Nothing = chromedp.Void
