package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// dashboard is what the tests read of a Grafana dashboard (classic JSON model).
type dashboard struct {
	UID           string  `json:"uid"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct {
			Name, Type string
			Definition string
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Datasource  datasource
	Panels      []panel // of a collapsed row
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		Expr, LegendFormat, RefID string
		Datasource                datasource
	}
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("grafana/shoal.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

// graphs are the panels but for the rows.
func (d dashboard) graphs() (out []panel) {
	var walk func([]panel)
	walk = func(panels []panel) {
		for _, p := range panels {
			if p.Type == "row" {
				walk(p.Panels)
			} else {
				out = append(out, p)
			}
		}
	}
	walk(d.Panels)
	return out
}

// rule is one alert.
type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile("prometheus/shoal.rules.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct{ Rules []rule }
	}
	require.NoError(t, yaml.NewDecoder(bytes.NewReader(text)).Decode(&file))
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// Grafana's variables in an expression are replaced by what they may stand for.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*", "$tracker", ".*")

// expression is one PromQL expression of the dashboard or the rules.
type expression struct {
	where, expr, legend string
}

func expressions(t *testing.T) (out []expression) {
	t.Helper()
	d := readDashboard(t)
	for _, p := range d.graphs() {
		for _, target := range p.Targets {
			out = append(out, expression{"panel " + p.Title, grafanaVariables.Replace(target.Expr), target.LegendFormat})
		}
	}
	values := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			found := values.FindStringSubmatch(v.Definition)
			require.NotNil(t, found, "variable %s: %q", v.Name, v.Definition)
			out = append(out, expression{"variable " + v.Name, found[1], "{{" + found[2] + "}}"})
		}
	}
	for _, r := range readRules(t) {
		out = append(out, expression{"alert " + r.Alert, r.Expr, r.Annotations["summary"] + r.Annotations["description"]})
	}
	return out
}

func TestDashboardIsWhatGrafanaImports(t *testing.T) {
	d := readDashboard(t)
	require.Equal(t, "shoal", d.UID)
	require.Equal(t, 42, d.SchemaVersion, "of Grafana 13")
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	require.Equal(t, map[string]string{"datasource": "datasource", "instance": "query", "tracker": "query"}, variables)
	ids, titles := map[int]string{}, map[string]bool{}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		require.Empty(t, ids[p.ID], "two panels with the number of %s", p.Title)
		ids[p.ID] = p.Title
		require.NotEmpty(t, p.Title)
		if p.Type != "row" {
			require.False(t, titles[p.Title], "two panels called %s", p.Title)
			titles[p.Title] = true
		}
		g := p.GridPos
		require.True(t, g.X >= 0 && g.W > 0 && g.H > 0 && g.X+g.W <= 24, "%s lies outside the grid", p.Title)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s covers another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	for _, p := range d.graphs() {
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		require.Equal(t, datasource{"prometheus", "${datasource}"}, p.Datasource, p.Title)
		refs := map[string]bool{}
		for _, target := range p.Targets {
			require.Equal(t, p.Datasource, target.Datasource, p.Title)
			require.NotContains(t, grafanaVariables.Replace(target.Expr), "$", "%s: an unknown variable", p.Title)
			require.False(t, refs[target.RefID], p.Title)
			refs[target.RefID] = true
		}
	}
}

func TestEveryPanelAndAlertIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	docs := string(text)
	for _, p := range readDashboard(t).graphs() {
		require.Contains(t, docs, "**"+p.Title+"**", "docs/operations.md says what this panel means")
	}
	history, err := os.ReadFile("prometheus/shoal.rules.test.yml")
	require.NoError(t, err)
	for _, r := range readRules(t) {
		require.Contains(t, docs, "`"+r.Alert+"`", "docs/operations.md says what to do")
		require.Contains(t, string(history), r.Alert, "a history in which it fires")
		require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
	}
}
