package trace

import (
	"strings"
	"time"
)

// Absent stands for "not known" in every number of a Session and of a Link,
// durations included. An unknown text is empty. A number below zero is never
// anything else.
const Absent = -1

// Kind is what sort of title is watched.
type Kind uint8

// Kinds of titles.
const (
	KindUnknown Kind = iota
	VOD
	Live
)

// String is the kind as the files have it; empty for KindUnknown.
func (k Kind) String() string {
	switch k {
	case VOD:
		return "vod"
	case Live:
		return "live"
	default:
		return ""
	}
}

// Uploads says whether a viewer's node ever serves others.
type Uploads uint8

// Values of Uploads.
const (
	UploadsUnknown Uploads = iota
	UploadsYes
	UploadsNo
)

// String is the value as the files have it; empty for UploadsUnknown.
func (u Uploads) String() string {
	switch u {
	case UploadsYes:
		return "yes"
	case UploadsNo:
		return "no"
	default:
		return ""
	}
}

// NAT types, as a session's NAT holds them. All but NATSymmetric map
// independently of the endpoint (RFC 4787 §4.1) and differ in their filtering.
const (
	NATOpen              = "open"               // a public address, nothing filtered
	NATFullCone          = "full-cone"          // anybody may answer to the mapping
	NATAddressRestricted = "address-restricted" // only addresses that were sent to
	NATPortRestricted    = "port-restricted"    // only endpoints that were sent to
	NATSymmetric         = "symmetric"          // another mapping for each endpoint
	NATBlocked           = "blocked"            // no UDP at all
)

// natTypes are all of them, from the most to the least reachable.
var natTypes = []string{NATOpen, NATFullCone, NATAddressRestricted, NATPortRestricted, NATSymmetric, NATBlocked}

// Session is one viewer watching one title once. Sessions are made by
// NewSession: in the zero value nothing is Absent.
type Session struct {
	ID    string
	Start time.Duration // since the beginning of the trace, usually midnight
	Title string
	Watch time.Duration // wall time between the start and the departure

	Kind        Kind
	Track       string
	BitrateKbps int           // of the track
	TitleLength time.Duration // of a VOD title
	Position    time.Duration // VOD: media time at the start; live: distance from the live edge
	ISP         string
	Region      string // "country" or "country/part"
	NAT         string // one of the NAT constants
	Platform    string // "mobile" is a metered link
	DownKbps    int    // capacity of the access link
	UpKbps      int    // capacity of the access link; 0 never uploads
	RTT         time.Duration
	Network     string        // name of a network trace: its path in the folder, without extension
	Linger      time.Duration // stays online after watching
	CacheMB     int
	Uploads     Uploads
	Seeks       []Seek // VOD, by rising At
}

// Seek is a jump of the viewer.
type Seek struct {
	At time.Duration // since the session's start
	To time.Duration // media time
}

// NewSession returns a session of which nothing else is known.
func NewSession(id string, start time.Duration, title string, watch time.Duration) Session {
	return Session{
		ID: id, Start: start, Title: title, Watch: watch,
		BitrateKbps: Absent, TitleLength: Absent, Position: Absent, DownKbps: Absent, UpKbps: Absent,
		RTT: Absent, Linger: Absent, CacheMB: Absent,
	}
}

// End is when the viewer stops watching.
func (s Session) End() time.Duration { return s.Start + s.Watch }

// Country is the part of the region before the first slash.
func (s Session) Country() string {
	country, _, _ := strings.Cut(s.Region, "/")
	return country
}
