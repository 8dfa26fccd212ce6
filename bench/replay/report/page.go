package report

// pageHTML is the template of the page. The plots and their colours are those of
// package plot.
const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>shoal replay: {{.Title}}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #c8ced6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171c; --line: #3a414b; } }
body { margin: 0 auto; padding: 1rem; max-width: 1400px; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0 0 .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
td, th { white-space: nowrap; } th:first-child { text-align: left; font-weight: 400; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1.5rem; margin-top: 1.5rem; }
figure { margin: 0; } figcaption { font-size: .9rem; opacity: .8; } svg { width: 100%; height: auto; } text { fill: var(--ink); font-size: 12px; }
ul { list-style: none; padding: 0; margin: .2rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
li::before { content: ""; display: inline-block; width: 1.2em; height: .25em; margin-right: .4em; vertical-align: middle; background: var(--c); }
.note { border-left: .3rem solid #d55e00; padding-left: .7rem; }
{{template "style"}}</style>
</head>
<body>
<h1>shoal replay: {{.Title}}</h1>
<p>Seed {{.Seed}}. Shares count what was played; what was fetched and not watched is listed beside it.</p>
{{if .Partial}}<p class="note"><strong>Partial:</strong> the run was interrupted.</p>{{end}}
{{if .Skipped}}<p class="note">{{.Skipped}} rows of the input could not be read and were skipped.</p>{{end}}
<div class="scroll"><table>
<thead><tr><th></th>{{range .Policies}}<th scope="col">{{.Name}}</th>{{end}}</tr></thead>
<tbody>{{range .Rows}}<tr><th scope="row">{{.Name}}</th>{{range .Values}}<td>{{.}}</td>{{end}}</tr>
{{end}}</tbody></table></div>
<div class="plots">
{{range .Plots}}<figure><h2>{{.Title}}</h2>{{if .Empty}}<p>Nothing to show.</p>{{else}}<figcaption>{{.Y}}</figcaption>
<svg viewBox="0 0 640 280" role="img" aria-label="{{.Title}}: {{.Y}} by {{.X}}">
{{template "drawing" .}}</svg>
<ul>{{range .Paths}}<li class="{{.Class}}">{{.Name}}</li>{{end}}</ul>{{end}}</figure>
{{end}}</div>
</body>
</html>
`
