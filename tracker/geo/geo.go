// Package geo says which provider and region an address belongs to, from
// databases in the MaxMind format that operators bring: City or Country for the
// region, ASN or ISP for the provider. Without any, only inner addresses have a
// place.
//
// A DB is read once, into memory: a file that is overwritten in place beneath
// a mapping would end the process. Lookup may be called from any goroutine and
// waits for nothing.
package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"unicode"

	"github.com/oschwald/maxminddb-golang/v2"

	"shoal/tracker"
)

const (
	// fileBytesMax bounds a database: the largest of MaxMind's has 500 MB.
	fileBytesMax = 2 << 30

	// nameRunesMax bounds the names of a database: a line on a screen.
	nameRunesMax = 64

	// probesMax networks, empty ones included, are looked at to see what a
	// database is about. In a database with a single record it is found behind at
	// most 128 empty ones; a damaged tree could have 2^128.
	probesMax = 4096
)

// local is the place of addresses that no database can know: the same machine,
// the same network, or the inside of a provider's NAT.
var local = tracker.Place{ISP: "local", Region: "local"}

// sharedSpace is what carrier NATs use inside (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// DB answers from the databases it was opened with, the first that knows.
type DB struct {
	readers []*maxminddb.Reader
}

// Open reads the databases; no files make a DB that knows inner addresses only.
func Open(files ...string) (*DB, error) {
	db := &DB{}
	for _, file := range files {
		r, err := read(file)
		if err != nil {
			return nil, err
		}
		db.readers = append(db.readers, r)
	}
	return db, nil
}

func read(file string) (*maxminddb.Reader, error) {
	const advice = "bring a City, Country, ASN or ISP database in MaxMind's format (.mmdb, unpacked)"
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("geo database: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("geo database %s is no file; %s", file, advice)
	case info.Size() > fileBytesMax:
		return nil, fmt.Errorf("geo database %s has %d bytes, more than any database known; %s", file, info.Size(), advice)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("geo database: %w", err)
	}
	r, err := maxminddb.OpenBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("geo database %s is not one that can be read (%w); %s", file, err, advice)
	}
	if useful, err := probe(r); err != nil {
		return nil, fmt.Errorf("geo database %s is damaged (%w); fetch it again", file, err)
	} else if !useful {
		return nil, fmt.Errorf("geo database %s (%s) tells neither provider nor region; %s",
			file, clean(r.Metadata.DatabaseType), advice)
	}
	return r, nil
}

// probe looks whether the first records say anything that we ask for.
func probe(r *maxminddb.Reader) (useful bool, err error) {
	probes := 0
	for result := range r.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := result.Err(); err != nil {
			return false, err
		}
		if isp(result) != "" || region(result) != "" {
			return true, nil
		}
		if probes++; probes == probesMax {
			break
		}
	}
	return false, nil
}

// Lookup returns where an address is; what nobody knows is "unknown".
func (db *DB) Lookup(ip netip.Addr) tracker.Place {
	ip = ip.Unmap().WithZone("")
	if ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || sharedSpace.Contains(ip) {
		return local
	}
	place := tracker.UnknownPlace
	for _, r := range db.readers {
		result := r.Lookup(ip)
		if result.Err() != nil || !result.Found() {
			continue
		}
		if name := isp(result); name != "" && place.ISP == tracker.UnknownPlace.ISP {
			place.ISP = name
		}
		if name := region(result); name != "" && place.Region == tracker.UnknownPlace.Region {
			place.Region = name
		}
	}
	return place
}

// isp is the provider's name: "isp" in the ISP databases, the name of the
// autonomous system in those and in the ASN databases, or at least its number.
func isp(r maxminddb.Result) string {
	for _, field := range []string{"isp", "autonomous_system_organization"} {
		if name := text(r, field); name != "" {
			return name
		}
	}
	var number uint32
	if err := r.DecodePath(&number, "autonomous_system_number"); err == nil && number > 0 {
		return fmt.Sprintf("AS%d", number)
	}
	return ""
}

// region is the ISO 3166-2 code of the subdivision where it is known, and of
// the country otherwise.
func region(r maxminddb.Result) string {
	country := text(r, "country", "iso_code")
	if country == "" {
		return ""
	}
	if part := text(r, "subdivisions", 0, "iso_code"); part != "" {
		return country + "-" + part
	}
	return country
}

// text reads a string; a field that is missing or no string is empty.
func text(r maxminddb.Result, path ...any) string {
	var s string
	if err := r.DecodePath(&s, path...); err != nil {
		return ""
	}
	return clean(s)
}

// clean makes a name fit for a terminal and a line of a page.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > nameRunesMax {
		s = string(runes[:nameRunesMax-1]) + "…"
	}
	return strings.TrimSpace(s)
}

// Close forgets the databases.
func (db *DB) Close() error {
	var errs []error
	for _, r := range db.readers {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
