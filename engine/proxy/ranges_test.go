package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRangeHeader(t *testing.T) {
	const size = 1000
	one := func(offset, length int64) []byteRange { return []byteRange{{offset, length}} }
	for header, tc := range map[string]struct {
		ranges      []byteRange
		satisfiable bool
	}{
		"bytes=0-":                     {one(0, 1000), true},
		"bytes=0-0":                    {one(0, 1), true},
		"bytes=999-":                   {one(999, 1), true},
		"bytes=10-5000":                {one(10, 990), true},
		"bytes=-1":                     {one(999, 1), true},
		"bytes=-5000":                  {one(0, 1000), true},
		"Bytes = 5-9":                  {one(5, 5), true},
		"bytes= 5-9 , ,10-11":          {[]byteRange{{5, 5}, {10, 2}}, true},
		"bytes=0-0,5000-,-1":           {[]byteRange{{0, 1}, {999, 1}}, true},
		"bytes=1000-":                  {nil, false},
		"bytes=-0":                     {nil, false},
		"bytes=99999999999999999999-":  {nil, false},
		"bytes=5-99999999999999999999": {one(5, 995), true},
		"bytes=5-4":                    {nil, true},
		"bytes=a-b":                    {nil, true},
		"bytes=+1-2":                   {nil, true},
		"bytes=1":                      {nil, true},
		"bytes=-":                      {nil, true},
		"bytes=":                       {nil, true},
		"bytes":                        {nil, true},
		"items=0-1":                    {nil, true},
		"bytes=0-,0-":                  {nil, true}, // overlaps: the whole file is shorter
		"bytes=" + strings.Repeat("1-1,", rangesMax+1): {nil, true},
	} {
		ranges, ok := parseRange(header, size)
		require.Equal(t, tc.satisfiable, ok, header)
		require.Equal(t, tc.ranges, ranges, header)
	}
}

func TestPreconditions(t *testing.T) {
	const etag = `"abc"`
	for name, tc := range map[string]struct {
		method string
		header http.Header
		want   verdict
	}{
		"plain":                      {"GET", http.Header{}, serveWhole},
		"range":                      {"GET", http.Header{"Range": {"bytes=0-"}}, serveRange},
		"range of HEAD is ignored":   {"HEAD", http.Header{"Range": {"bytes=0-"}}, serveWhole},
		"if-range holds":             {"GET", http.Header{"Range": {"bytes=0-"}, "If-Range": {etag}}, serveRange},
		"if-range of another file":   {"GET", http.Header{"Range": {"bytes=0-"}, "If-Range": {`"old"`}}, serveWhole},
		"if-range never weak":        {"GET", http.Header{"Range": {"bytes=0-"}, "If-Range": {"W/" + etag}}, serveWhole},
		"if-range with a date":       {"GET", http.Header{"Range": {"bytes=0-"}, "If-Range": {"Sun, 06 Nov 1994 08:49:37 GMT"}}, serveWhole},
		"if-none-match":              {"GET", http.Header{"If-None-Match": {`"x", W/"abc"`}}, notModified},
		"if-none-match any":          {"GET", http.Header{"If-None-Match": {"*"}}, notModified},
		"if-match another":           {"GET", http.Header{"If-Match": {`"x"`}}, preconditionFailed},
		"if-match is strong":         {"GET", http.Header{"If-Match": {"W/" + etag}}, preconditionFailed},
		"if-match before none-match": {"GET", http.Header{"If-Match": {`"x"`}, "If-None-Match": {etag}}, preconditionFailed},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, evaluate(tc.method, tc.header, etag)) })
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-", int64(10))
	f.Add("bytes=-5,3-4, 9-", int64(10))
	f.Add("bytes=18446744073709551616-", int64(1)<<40)
	f.Add("bytes=--1", int64(0))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		ranges, satisfiable := parseRange(header, size)
		if !satisfiable && len(ranges) > 0 || len(ranges) > rangesMax {
			t.Fatalf("%q: %v %v", header, ranges, satisfiable)
		}
		var total int64
		for _, r := range ranges {
			if r.offset < 0 || r.length <= 0 || r.length > size || r.offset > size-r.length {
				t.Fatalf("%q of %d bytes: %v", header, size, r)
			}
			total += r.length
		}
		if total > size {
			t.Fatalf("%q of %d bytes: parts of %d bytes", header, size, total)
		}
	})
}
