package deploy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// selector is one metric in a PromQL expression.
type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// query is what an expression refers to.
type query struct {
	selectors []selector
	grouping  []string // labels in by (…), without (…), on (…), …
}

// Words of PromQL that look like metrics. Functions are known by the bracket
// that follows; aggregations may have a by (…) in between.
var (
	aggregations = strings.Fields("sum min max avg group stddev stdvar count count_values bottomk topk quantile")
	groupings    = strings.Fields("by without on ignoring group_left group_right")
	operators    = strings.Fields("and or unless bool offset inf nan start end")
)

var (
	spacePattern = regexp.MustCompile(`^\s+`)
	wordPattern  = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	// Numbers and durations, ranges, strings.
	otherPattern   = regexp.MustCompile(`^([0-9.][0-9a-zA-Z.]*|\[[^]]*\]|"(\\.|[^"\\])*")`)
	bracePattern   = regexp.MustCompile(`^\s*\{([^{}]*)\}`)
	listPattern    = regexp.MustCompile(`^\s*\(([^()]*)\)`)
	callPattern    = regexp.MustCompile(`^\s*\(`)
	matcherPattern = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:\\.|[^"\\])*)"\s*(?:,|$)`)
)

// parse finds the metrics in an expression. It knows as much of PromQL as the
// dashboard and the rules use; Prometheus itself judges the rest, end to end.
func parse(expr string) (q query, err error) {
	take := func(p *regexp.Regexp) []string {
		found := p.FindStringSubmatch(expr)
		if found != nil {
			expr = expr[len(found[0]):]
		}
		return found
	}
	for expr != "" {
		if take(spacePattern) != nil || take(otherPattern) != nil {
			continue
		}
		found := take(wordPattern)
		if found == nil {
			if !strings.ContainsRune("()+-*/%^=!<>,", rune(expr[0])) {
				return q, fmt.Errorf("cannot read %q", expr)
			}
			expr = expr[1:]
			continue
		}
		switch word := found[0]; {
		case slices.Contains(groupings, word):
			list := take(listPattern)
			if list == nil {
				return q, fmt.Errorf("%s without a list", word)
			}
			for label := range strings.SplitSeq(list[1], ",") {
				q.grouping = append(q.grouping, strings.TrimSpace(label))
			}
		case slices.Contains(aggregations, word), slices.Contains(operators, strings.ToLower(word)), callPattern.MatchString(expr):
		default:
			s := selector{metric: word}
			if braces := take(bracePattern); braces != nil {
				if s.matchers, err = parseMatchers(braces[1]); err != nil {
					return q, err
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	return q, nil
}

func parseMatchers(text string) (out []matcher, err error) {
	for strings.TrimSpace(text) != "" {
		found := matcherPattern.FindStringSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("cannot read the matcher %q", text)
		}
		text = text[len(found[0]):]
		out = append(out, matcher{found[1], found[2], found[3]})
	}
	return out, nil
}

// words returns the values of a matcher that selects by listing them.
func (m matcher) words() []string {
	switch m.op {
	case "=":
		return []string{m.value}
	case "=~":
		if regexp.MustCompile(`^[a-z0-9_|]+$`).MatchString(m.value) {
			return strings.Split(m.value, "|")
		}
	}
	return nil
}

func TestMetricsAreFoundInPromQL(t *testing.T) {
	const expr = `histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{x="1", y=~"b|c"}[10m]))) > 1.6e3
		and on (job) (b_total{} or sum(c) / (count(d == 0) > 0)) unless bottomk(5, e:f{z!~"[12].."} offset 5m) - time()`
	q, err := parse(expr)
	require.NoError(t, err)
	require.Equal(t, []selector{
		{"a_bucket", []matcher{{"x", "=", "1"}, {"y", "=~", "b|c"}}},
		{metric: "b_total"},
		{metric: "c"},
		{metric: "d"},
		{"e:f", []matcher{{"z", "!~", "[12].."}}},
	}, q.selectors)
	require.Equal(t, []string{"job", "le", "job"}, q.grouping)
	require.Equal(t, []string{"b", "c"}, q.selectors[0].matchers[1].words())
	require.Empty(t, q.selectors[4].matchers[0].words())
	for _, bad := range []string{`a{x=1}`, `a @ b`, `sum by a`} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}
