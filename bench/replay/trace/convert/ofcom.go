package convert

import (
	"fmt"
	"io"

	"shoal/bench/replay/trace"
)

// Columns of Ofcom's panel. The published table and the one with short names
// hold the same; each field is the first of its names that the file has.
var ofcomColumns = []string{
	"isp", "technology", "region",
	"down_avg", "up_avg", "rtt_ms", "weight",
	"Download - 24 (ave)", "Upload - 24 (ave)", "Latency - 24h", "national_weight",
}

const (
	ofcomISP = iota
	ofcomTechnology
	ofcomRegion
	ofcomDown
	ofcomUp
	ofcomRTT
	ofcomWeight
	ofcomLongNames
	ofcomRequired = ofcomDown
)

// ofcomMbpsMax is above every line that is sold to homes.
const ofcomMbpsMax = 100_000

// ofcomLinesMax bounds the panel: all of it are 3,321 lines.
const ofcomLinesMax = 100_000

// Ofcom reads the panel of measured UK home lines and makes a profile that draws
// from them. Lines without a national weight are counted as unweighted and left
// out, unless none has one: they are outside the sample that stands for the country.
func Ofcom(r io.Reader, name string, o trace.Options) (p *trace.Profile, skipped, unweighted int, err error) {
	rec, err := newRecords(r, name, ofcomColumns, ofcomRequired, o)
	if err != nil {
		return nil, 0, 0, err
	}
	var field [ofcomLongNames]int
	for i := range field {
		field[i] = i
		if i < ofcomRequired || rec.position[i] >= 0 {
			continue
		}
		if field[i] = i + ofcomLongNames - ofcomRequired; rec.position[field[i]] < 0 {
			return nil, 0, 0, &trace.Error{File: name, Line: 1, Column: ofcomColumns[i], Why: fmt.Sprintf("is missing from the header, and so is %q", ofcomColumns[field[i]])}
		}
	}
	var lines, rest []trace.Home
	err = rec.each(func() error {
		line, weighted, err := ofcomLine(rec, &field)
		switch {
		case err != nil:
			return err
		case len(lines)+len(rest) == ofcomLinesMax:
			return fmt.Errorf("%s: more than %d lines", name, ofcomLinesMax)
		case weighted:
			lines = append(lines, line)
		default:
			rest = append(rest, line)
		}
		return nil
	})
	if err != nil {
		return nil, 0, 0, err
	}
	if len(lines) == 0 {
		lines, rest = rest, nil
	}
	if len(lines) == 0 {
		return nil, 0, 0, &trace.Error{File: name, Why: "has no lines"}
	}
	return ofcomProfile(lines), rec.skipped, len(rest), nil
}

func ofcomLine(rec *records, field *[ofcomLongNames]int) (line trace.Home, weighted bool, err error) {
	line = trace.Home{ISP: rec.text(ofcomISP), Technology: rec.text(ofcomTechnology), Region: "GB", Weight: 1}
	if region := rec.text(ofcomRegion); region != "" {
		line.Region += "/" + region
	}
	drawn := trace.NewSession("x", 0, "x", 0) // the names become those of sessions
	drawn.ISP, drawn.Region, drawn.Track = line.ISP, line.Region, line.Technology
	if err := drawn.Check(); err != nil {
		return line, false, rec.table.Errorf("", "a name in it cannot be used: %v", err)
	}
	numbers := []struct {
		field       int
		least, most float64
		set         func(float64)
	}{
		{ofcomDown, 0.001, ofcomMbpsMax, func(v float64) { line.DownKbps = max(int(v*1000+0.5), 1) }},
		{ofcomUp, 0.001, ofcomMbpsMax, func(v float64) { line.UpKbps = max(int(v*1000+0.5), 1) }},
		{ofcomRTT, 0, 60_000, func(v float64) { line.RTTMs = v }},
	}
	for _, n := range numbers {
		v, err := rec.number(field[n.field], ofcomColumns[n.field], n.least, n.most)
		if err != nil {
			return line, false, err
		}
		n.set(v)
	}
	if rec.text(field[ofcomWeight]) == "" {
		return line, false, nil
	}
	weight, err := rec.number(field[ofcomWeight], ofcomColumns[ofcomWeight], 0, 1e6)
	if err != nil || weight == 0 {
		return line, false, err
	}
	line.Weight = weight
	return line, true, nil
}

func ofcomProfile(lines []trace.Home) *trace.Profile {
	return &trace.Profile{
		Name:  "homes",
		About: "Home lines in the United Kingdom as Ofcom's panel measured them; each viewer gets one whole line. What is not about lines comes from the profile default.",
		Sources: map[string]trace.Source{"ofcom": {
			Title:   "Ofcom, UK home broadband performance: panel data (SamKnows white boxes)",
			Where:   "https://www.ofcom.org.uk, file broadband_performance.csv",
			Licence: "Contains information licensed by the Office of Communications.",
			Note:    "24-hour means of each line; national weights.",
		}},
		Homes: &trace.Homes{Sourced: trace.Sourced{Source: []string{"ofcom"}}, Lines: lines},
	}
}
