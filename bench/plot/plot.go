// Package plot draws curves as SVG. It knows nothing of what they show.
package plot

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Classes of curves have a colour each in Style; the twin, with which others are
// compared, has its own.
const (
	Classes   = 6
	TwinClass = -1
)

// The size of a plot and of its margins, in the SVG's units.
const (
	plotWidth, plotHeight   = 640.0, 280.0
	left, right, top, below = 56.0, 12.0, 10.0, 40.0
	innerWidth, innerHeight = plotWidth - left - right, plotHeight - top - below
	ticksWanted             = 5
	dotMargin               = 1.3 // keeps dots off the border of a logarithmic axis
)

// Plot is a diagram. What comes after Curves is for the template, after LayOut.
type Plot struct {
	Title, X, Y string
	MaxY        float64 // 0: by the data
	LogX, Dots  bool
	Curves      []Curve

	XTicks, YTicks []tick
	Paths          []path
	Empty          bool
}

// Curve is a line of a Plot, or its dots.
type Curve struct {
	Name   string
	Class  int // below Classes, or TwinClass
	xs, ys []float64
}

// Add adds a point.
func (c *Curve) Add(x, y float64) { c.xs, c.ys = append(c.xs, x), append(c.ys, y) }

type tick struct {
	At    string
	Label string
}

// path is a curve in the SVG's units.
type path struct {
	Name, Class, D string
}

// LayOut works out what the template draws.
func (p *Plot) LayOut() {
	minX, maxX, maxY := math.Inf(1), math.Inf(-1), p.MaxY
	for _, c := range p.Curves {
		for i, x := range c.xs {
			minX, maxX = min(minX, x), max(maxX, x)
			if p.MaxY == 0 {
				maxY = max(maxY, c.ys[i])
			}
		}
	}
	if p.Empty = minX > maxX; p.Empty {
		return
	}
	if p.LogX && p.Dots {
		minX, maxX = minX/dotMargin, maxX*dotMargin
	}
	place := func(x float64) float64 { return x }
	if p.LogX {
		place = math.Log10
	}
	if maxX == minX {
		maxX = minX + 1
	}
	if maxY <= 0 {
		maxY = 1
	}
	x := func(v float64) float64 { return left + innerWidth*(place(v)-place(minX))/(place(maxX)-place(minX)) }
	y := func(v float64) float64 { return top + innerHeight*(1-min(v/maxY, 1)) }
	for _, v := range p.xTicks(minX, maxX) {
		p.XTicks = append(p.XTicks, tick{At: number(x(v)), Label: label(v)})
	}
	for _, v := range steps(0, maxY) {
		p.YTicks = append(p.YTicks, tick{At: number(y(v)), Label: label(v)})
	}
	for _, c := range p.Curves {
		class := "twin"
		if c.Class != TwinClass {
			class = fmt.Sprintf("c%d", c.Class%Classes)
		}
		var d strings.Builder
		for i := range c.xs {
			switch {
			case p.Dots:
				// A line of no length with round caps is a dot.
				fmt.Fprintf(&d, "M%s %sh0", number(x(c.xs[i])), number(y(c.ys[i])))
			case i == 0:
				fmt.Fprintf(&d, "M%s %s", number(x(c.xs[i])), number(y(c.ys[i])))
			default:
				fmt.Fprintf(&d, "L%s %s", number(x(c.xs[i])), number(y(c.ys[i])))
			}
		}
		p.Paths = append(p.Paths, path{Name: c.Name, Class: class, D: d.String()})
	}
}

func (p *Plot) xTicks(from, to float64) []float64 {
	if !p.LogX {
		return steps(from, to)
	}
	var list []float64
	for e := math.Floor(math.Log10(from)); e <= math.Ceil(math.Log10(to)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= from && v <= to {
				list = append(list, v)
			}
		}
	}
	return list
}

// steps are round values between two others.
func steps(from, to float64) []float64 {
	raw := (to - from) / ticksWanted
	if raw <= 0 || math.IsInf(raw, 0) || math.IsNaN(raw) {
		return nil
	}
	base := math.Pow(10, math.Floor(math.Log10(raw)))
	step := base
	for _, m := range []float64{1, 2, 5, 10} {
		if step = base * m; step >= raw {
			break
		}
	}
	var list []float64
	for v := math.Ceil(from/step) * step; v <= to*(1+1e-9); v += step {
		list = append(list, v)
	}
	return list
}

func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// label writes four digits, and no exponent.
func label(v float64) string {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}
