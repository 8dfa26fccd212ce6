package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, method, target string, header ...string) (*httptest.ResponseRecorder, bool) {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:7070"+target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	return w, Serve(w, r)
}

func body(t *testing.T, target string) string {
	t.Helper()
	w, ok := get(t, http.MethodGet, target)
	require.True(t, ok, target)
	require.Equal(t, http.StatusOK, w.Code, target)
	return w.Body.String()
}

// own lists the files that this project has written.
func own(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(static, "static", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.Contains(name, "/vendor/") {
			names = append(names, name)
		}
		return err
	}))
	return names
}

func TestThePageIsLockedDown(t *testing.T) {
	for _, target := range []string{"/", "/_shoal/shoal.css", "/_shoal/viewer.js", "/_shoal/vendor/hls.min.js", "/_shoal/icon.svg"} {
		w, ok := get(t, http.MethodGet, target)
		require.True(t, ok, target)
		policy := w.Header().Get("Content-Security-Policy")
		for _, rule := range []string{
			"default-src 'none'", "script-src 'self';", "style-src 'self';", "connect-src 'self';", "media-src 'self' blob:",
			"worker-src blob:", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
		} {
			require.Contains(t, policy, rule, target)
		}
		require.NotContains(t, policy, "unsafe", target)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), target)
		require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"), target)
	}
}

func TestFilesAreRevalidatedByTheirContent(t *testing.T) {
	first, _ := get(t, http.MethodGet, "/_shoal/shoal.css")
	etag := first.Header().Get("Etag")
	require.Regexp(t, `^"[0-9a-f]{24}"$`, etag)
	require.Equal(t, "text/css; charset=utf-8", first.Header().Get("Content-Type"))
	again, _ := get(t, http.MethodGet, "/_shoal/shoal.css", "If-None-Match", etag)
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Zero(t, again.Body.Len())
	other, _ := get(t, http.MethodGet, "/_shoal/viewer.js", "If-None-Match", etag)
	require.Equal(t, http.StatusOK, other.Code)
	head, _ := get(t, http.MethodHead, "/_shoal/shoal.css")
	require.Zero(t, head.Body.Len())
	require.Equal(t, first.Header().Get("Content-Length"), head.Header().Get("Content-Length"))
}

func TestWhatIsNotThereIsNotServed(t *testing.T) {
	for _, target := range []string{"/_shoal/", "/_shoal/index.html", "/_shoal/vendor", "/_shoal/../page.go", "/_shoal/none.js", "/index.html"} {
		w, ok := get(t, http.MethodGet, target)
		require.False(t, ok, target)
		require.Empty(t, w.Header(), target)
	}
}

// reference finds what a file of ours makes the browser load.
var reference = regexp.MustCompile(`(?:src|href)="([^"#]+)"|from '([^']+)'|url\(([^)]+)\)|new Worker\('([^']+)'`)

func TestEverythingThatIsLoadedIsHere(t *testing.T) {
	api := map[string]bool{"/api/status": true, "/metrics": true}
	found := 0
	for _, name := range own(t) {
		b, err := static.ReadFile(name)
		require.NoError(t, err)
		for _, m := range reference.FindAllStringSubmatch(string(b), -1) {
			target := m[1] + m[2] + m[3] + m[4]
			if api[target] {
				continue
			}
			if strings.HasPrefix(target, "./") {
				target = Prefix + path.Join(path.Dir(strings.TrimPrefix(name, "static/")), target)
			}
			found++
			_, ok := get(t, http.MethodGet, target)
			require.True(t, ok, "%s loads %s", name, target)
		}
	}
	require.Greater(t, found, 8)
}

func TestNothingOfOursNamesAnotherHost(t *testing.T) {
	url := regexp.MustCompile(`(?i)(?:https?:|["'(])//[a-z0-9.-]+\.[a-z]{2,}`)
	for _, name := range own(t) {
		b, err := static.ReadFile(name)
		require.NoError(t, err)
		for _, found := range url.FindAllString(string(b), -1) {
			require.Equal(t, "http://www.w3.org", found, "%s: only the name of SVG's namespace, which nobody loads", name)
		}
	}
}

// A policy without 'unsafe-inline' silently ignores these.
func TestThePageHasNoInlineScriptOrStyle(t *testing.T) {
	html := body(t, "/")
	require.NotRegexp(t, `(?i)<style|\sstyle=|\son[a-z]+=|<script>|javascript:`, html)
}

func TestVendoredFilesHaveTheirLicences(t *testing.T) {
	require.Contains(t, body(t, "/_shoal/vendor/hls.LICENSE"), "Apache License, Version 2.0")
	require.Contains(t, body(t, "/_shoal/vendor/uPlot.LICENSE"), "Permission is hereby granted")
	require.Contains(t, body(t, "/_shoal/vendor/hls.min.js"), `"1.7.4"`)
	require.Contains(t, body(t, "/_shoal/vendor/uPlot.iife.min.js"), "v1.6.32")
}

func TestEveryElementThatAScriptWantsIsThere(t *testing.T) {
	html := body(t, "/")
	wanted := regexp.MustCompile(`\$\('([^']+)'\)`)
	found := 0
	for _, name := range []string{"viewer.js", "titles.js", "dashboard.js"} {
		for _, m := range wanted.FindAllStringSubmatch(body(t, Prefix+name), -1) {
			found++
			require.Contains(t, html, `id="`+m[1]+`"`, name)
		}
	}
	require.Greater(t, found, 30)
}
