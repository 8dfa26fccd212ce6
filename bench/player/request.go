package player

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// bodyBytesMax bounds one body: an hour at 40 Mbit/s in one segment is no
// segment any more.
const bodyBytesMax = 1 << 30

// request is one load.
type request struct {
	url           string
	offset, limit int64 // limit 0: whole file
	cmcd          cmcd
	sample        bool // counts for the throughput estimate
}

func (r request) rangeHeader() string {
	if r.limit <= 0 {
		return ""
	}
	return fmt.Sprintf("bytes=%d-%d", r.offset, r.offset+r.limit-1)
}

// load gets a body, with retries. It returns the URL after redirects, too.
func (p *Player) load(ctx context.Context, req request) (body []byte, at *url.URL, err error) {
	delay := retryDelay
	for attempt := range loadAttempts {
		if attempt > 0 {
			if err := wait(ctx, delay); err != nil {
				return nil, nil, err
			}
			delay = min(2*delay, retryDelayMax)
		}
		body, at, err = p.attempt(ctx, req)
		if err == nil {
			return body, at, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		p.mu.Lock()
		p.errors++
		p.mu.Unlock()
		p.log.Debug("load failed", slog.String("url", req.url), slog.Any("error", err))
	}
	return nil, nil, &LoadError{req.url, err}
}

func (p *Player) attempt(ctx context.Context, req request) ([]byte, *url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	firstByte := time.AfterFunc(firstByteTimeout, cancel)
	defer firstByte.Stop()

	target, err := url.Parse(req.url)
	if err != nil {
		return nil, nil, err
	}
	sent := *target
	if !p.cfg.NoCMCD {
		sent.RawQuery = p.withCMCD(target, req.cmcd)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodGet, sent.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	hr.Header.Set("User-Agent", p.cfg.UserAgent)
	if h := req.rangeHeader(); h != "" {
		hr.Header.Set("Range", h)
	}
	began := time.Now()
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	resp, err := p.client.Do(hr)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	ttfb := time.Since(began)
	if !firstByte.Stop() {
		return nil, nil, errors.New("no answer within 10 s")
	}
	want := http.StatusOK
	if req.limit > 0 {
		want = http.StatusPartialContent
	}
	if resp.StatusCode != want {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, nil, fmt.Errorf("%w %s: %s", errStatus, resp.Status, strings.TrimSpace(string(reason)))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyBytesMax))
	p.mu.Lock()
	p.bytes += int64(len(body))
	p.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if req.limit > 0 && int64(len(body)) != req.limit {
		return nil, nil, fmt.Errorf("%d bytes instead of %d", len(body), req.limit)
	}
	if req.sample {
		p.estimate.sample(int64(len(body)), ttfb, time.Since(began))
	}
	if p.cfg.OnBody != nil {
		p.cfg.OnBody(req.url, req.rangeHeader(), body)
	}
	at := resp.Request.URL
	if !p.cfg.NoCMCD && at.RawQuery == sent.RawQuery {
		clean := *at
		clean.RawQuery = target.RawQuery
		at = &clean
	}
	return body, at, nil
}

// cmcd is what hls.js says with a request (CTA-5004, version 1).
type cmcd struct {
	object           string
	bufferKnown      bool
	buffer           time.Duration
	duration         time.Duration
	bandwidth, top   int
	next             string
	startup, starved bool
}

func cmcdFor(object string) cmcd { return cmcd{object: object} }

// withCMCD returns the query of u with the CMCD parameter. Keys are sorted, and
// values rounded, as the standard asks.
func (p *Player) withCMCD(u *url.URL, c cmcd) string {
	var b strings.Builder
	add := func(key, value string) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key)
		if value != "" {
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	hundreds := func(v float64) string { return strconv.Itoa(int(math.Round(v/100)) * 100) }
	if c.bufferKnown {
		add("bl", hundreds(float64(c.buffer.Milliseconds())))
	}
	if c.bandwidth > 0 {
		add("br", strconv.Itoa(c.bandwidth/1000))
	}
	if c.starved {
		add("bs", "")
	}
	if c.duration > 0 {
		add("d", strconv.FormatInt(c.duration.Milliseconds(), 10))
	}
	if c.bufferKnown && !c.startup {
		add("dl", hundreds(float64(c.buffer.Milliseconds())))
	}
	if c.bufferKnown {
		add("mtp", hundreds(p.estimate.bitsPerSecond()/1000))
	}
	if c.next != "" {
		add("nor", strconv.Quote(url.QueryEscape(relative(u, c.next))))
	}
	if c.object != "" {
		add("ot", c.object)
	}
	add("sf", "h")
	add("sid", strconv.Quote(p.cfg.SessionID))
	if c.startup || c.object == "m" && p.Report().State == Loading {
		add("su", "")
	}
	if c.top > 0 {
		add("tb", strconv.Itoa(c.top/1000))
	}
	query := "CMCD=" + url.QueryEscape(b.String())
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	return query
}

// relative is the next object as seen from u, when both lie in one folder.
func relative(u *url.URL, next string) string {
	n, err := url.Parse(next)
	if err != nil || n.Host != u.Host || path.Dir(n.Path) != path.Dir(u.Path) {
		return next
	}
	return path.Base(n.Path)
}
