package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/cc"
)

// flowKinds are what --flow takes, ours and the kernel's.
var flowKinds = []string{"shoal-fast", "shoal-medium", "shoal-slow", shoalCubic, shoalUpload, "tcp-cubic", "tcp-bbr", "tcp-reno"}

// tiers by the names that flows have for them.
var tiers = map[string]cc.Tier{"fast": cc.Fast, "medium": cc.Medium, "slow": cc.Slow}

const (
	shoalPrefix = "shoal-"
	shoalCubic  = "shoal-cubic"

	// shoalUpload is a node's uploads with --upload-yield on, which is off by default:
	// channels under a cc.UploadGovernor.
	shoalUpload = "shoal-upload"

	flowsMax       = 16
	channelsMax    = 16
	tierChangesMax = 16
)

// A flow is one sender and its receiver, who always have more to send.
type flow struct {
	Kind     string // of flowKinds
	Channels int    // that one node sends on, in a cc.Group
	Start    time.Duration
	Tiers    []tierChange
}

// A tierChange is a time since the run's start from which a shoal flow has
// another tier.
type tierChange struct {
	At   time.Duration
	Tier string
}

// parseFlow reads KIND[*CHANNELS][@START][:TIER@TIME]..., such as tcp-cubic@5s,
// shoal-fast*4 or shoal-fast:slow@10s:fast@20s.
func parseFlow(s string) (f flow, err error) {
	parts := strings.Split(s, ":")
	kind, start, err := cutTime(parts[0])
	if err != nil {
		return f, err
	}
	f.Start = start
	if f.Kind, f.Channels, err = cutChannels(kind); err != nil {
		return f, err
	}
	if !slices.Contains(flowKinds, f.Kind) {
		return f, fmt.Errorf("there is no flow %q; there are %s", f.Kind, strings.Join(flowKinds, ", "))
	}
	last := f.Start
	for _, part := range parts[1:] {
		var change tierChange
		if change.Tier, change.At, err = cutTime(part); err != nil {
			return f, err
		}
		switch {
		case f.Kind == shoalCubic || !f.shoal():
			return f, fmt.Errorf("%s has no tiers to change", f.Kind)
		case !isTier(change.Tier):
			return f, fmt.Errorf("there is no tier %q; there are fast, medium, slow", change.Tier)
		case change.At <= last:
			return f, fmt.Errorf("the change to %s at %v is not after what comes before it", change.Tier, change.At)
		case len(f.Tiers) == tierChangesMax:
			return f, fmt.Errorf("more than %d changes of tier", tierChangesMax)
		}
		last = change.At
		f.Tiers = append(f.Tiers, change)
	}
	return f, nil
}

// cutTime splits NAME@TIME; without a time it is zero.
func cutTime(s string) (name string, at time.Duration, err error) {
	name, when, ok := strings.Cut(s, "@")
	if ok {
		at, err = parseDuration(when)
	}
	return name, at, err
}

// cutChannels splits KIND*CHANNELS; without a number it is one.
func cutChannels(s string) (kind string, channels int, err error) {
	kind, number, ok := strings.Cut(s, "*")
	if !ok {
		return kind, 1, nil
	}
	if kind == shoalCubic || !strings.HasPrefix(kind, shoalPrefix) {
		return kind, 0, fmt.Errorf("%s has no channels to count", kind)
	}
	if channels, err = strconv.Atoi(number); err != nil || channels < 1 || channels > channelsMax {
		return kind, 0, fmt.Errorf("%s has 1 to %d channels, such as %s*4", kind, channelsMax, kind)
	}
	return kind, channels, nil
}

// String is the flow as --flow takes it.
func (f flow) String() string {
	var b strings.Builder
	b.WriteString(f.Kind)
	if f.Channels > 1 {
		fmt.Fprintf(&b, "*%d", f.Channels)
	}
	if f.Start > 0 {
		fmt.Fprintf(&b, "@%v", f.Start)
	}
	for _, change := range f.Tiers {
		fmt.Fprintf(&b, ":%s@%v", change.Tier, change.At)
	}
	return b.String()
}

// congestion is the kernel's name of a TCP flow's congestion control.
func (f flow) congestion() (name string, tcp bool) { return strings.CutPrefix(f.Kind, "tcp-") }

// shoal tells whether the flow is ours.
func (f flow) shoal() bool { return strings.HasPrefix(f.Kind, shoalPrefix) }

func isTier(name string) bool {
	_, ok := tiers[name]
	return ok
}

// controllers makes the congestion control of a shoal flow; nil is the transport's
// default, as a node has it.
func controllers(kind string) func(now time.Time) cc.Controller {
	switch kind {
	case shoalUpload:
		return nil
	case shoalCubic:
		return cc.NewCubic
	}
	tier := tiers[strings.TrimPrefix(kind, shoalPrefix)]
	var group cc.Group
	return func(now time.Time) cc.Controller { return group.NewTiered(now, tier) }
}
