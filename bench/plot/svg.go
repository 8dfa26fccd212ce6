package plot

import (
	"html/template"
	"io"
)

// Templates are "style", the rules of a drawing for a style sheet that sets --ink
// and --line, and "drawing", the inside of its svg element. Colours are those of
// a palette that is told apart with the usual kinds of colour blindness (Okabe,
// Ito 2008).
const Templates = `{{define "style"}}.grid { stroke: var(--line); stroke-width: 1; } path { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
path.dots { stroke-width: 5; stroke-linecap: round; }
.c0 { --c: #0072b2; } .c1 { --c: #d55e00; } .c2 { --c: #009e73; } .c3 { --c: #cc79a7; } .c4 { --c: #e69f00; } .c5 { --c: #56b4e9; } .twin { --c: #7a828c; }
path { stroke: var(--c); }
{{end}}{{define "drawing"}}{{range .YTicks}}<line class="grid" x1="56" x2="628" y1="{{.At}}" y2="{{.At}}"/><text x="50" y="{{.At}}" dy="4" text-anchor="end">{{.Label}}</text>{{end}}
{{range .XTicks}}<line class="grid" x1="{{.At}}" x2="{{.At}}" y1="240" y2="245"/><text x="{{.At}}" y="258" text-anchor="middle">{{.Label}}</text>{{end}}
<text x="628" y="275" text-anchor="end">{{.X}}</text>
{{$dots := .Dots}}{{range .Paths}}<path class="{{.Class}}{{if $dots}} dots{{end}}" d="{{.D}}"><title>{{.Name}}</title></path>
{{end}}{{end}}`

// file is a drawing by itself: an image has no list beside it, so the curves' names
// stand in it.
var file = template.Must(template.New("file").Funcs(template.FuncMap{"line": func(i int) int { return 24 + 16*i }}).Parse(Templates + `
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 280" role="img" aria-label="{{.Title}}: {{.Y}} by {{.X}}">
<style>
:root { --ink: #1b1f24; --line: #c8ced6; } text { font: 12px system-ui, sans-serif; fill: var(--ink); } text.name { fill: var(--c); font-weight: 600; }
{{template "style"}}</style>
<rect width="640" height="280" fill="#fff"/>
{{template "drawing" .}}<text x="62" y="20">{{.Y}}</text>
{{range $i, $path := .Paths}}<text class="name {{$path.Class}}" x="620" y="{{line $i}}" text-anchor="end">{{$path.Name}}</text>
{{end}}</svg>
`))

// WriteSVG lays the plot out and writes it as an image of its own.
func (p *Plot) WriteSVG(w io.Writer) error {
	p.LayOut()
	return file.Execute(w, p)
}
