package geo

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/stretchr/testify/require"

	"shoal/tracker"
)

// write makes a real database.
func write(t *testing.T, kind string, records map[string]mmdbtype.Map) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, RecordSize: 28})
	require.NoError(t, err)
	for network, record := range records {
		_, parsed, err := net.ParseCIDR(network)
		require.NoError(t, err)
		require.NoError(t, tree.Insert(parsed, record))
	}
	var b bytes.Buffer
	_, err = tree.WriteTo(&b)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), kind+".mmdb")
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

func cityOf(country, part string) mmdbtype.Map {
	m := mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)}}
	if part != "" {
		m["subdivisions"] = mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String(part)}}
	}
	return m
}

func asOf(number uint32, name string) mmdbtype.Map {
	m := mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(number)}
	if name != "" {
		m["autonomous_system_organization"] = mmdbtype.String(name)
	}
	return m
}

func TestPlacesComeFromSeveralDatabases(t *testing.T) {
	city := write(t, "GeoLite2-City", map[string]mmdbtype.Map{
		"198.41.0.0/24": cityOf("DE", "BE"), "198.41.1.0/24": cityOf("IS", ""), "2620:fe::/48": cityOf("CH", "ZH"),
		"198.41.4.0/24": {"continent": mmdbtype.Map{"code": mmdbtype.String("EU")}},
	})
	asn := write(t, "GeoLite2-ASN", map[string]mmdbtype.Map{
		"198.41.0.0/16": asOf(3320, "Deutsche Telekom AG"), "2620:fe::/48": asOf(64500, ""),
	})
	isps := write(t, "GeoIP2-ISP", map[string]mmdbtype.Map{
		"198.41.0.0/16": {"isp": mmdbtype.String("Telekom"), "autonomous_system_organization": mmdbtype.String("DTAG")},
	})
	db, err := Open(city, asn)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for ip, want := range map[string]tracker.Place{
		"198.41.0.9":        {ISP: "Deutsche Telekom AG", Region: "DE-BE"},
		"::ffff:198.41.0.9": {ISP: "Deutsche Telekom AG", Region: "DE-BE"},
		"198.41.1.9":        {ISP: "Deutsche Telekom AG", Region: "IS"},
		"198.41.4.9":        {ISP: "Deutsche Telekom AG", Region: "unknown"},
		"2620:fe::9":        {ISP: "AS64500", Region: "CH-ZH"},
		"9.9.9.9":           tracker.UnknownPlace,
		"2001:4860::8":      tracker.UnknownPlace,
	} {
		require.Equal(t, want, db.Lookup(netip.MustParseAddr(ip)), ip)
	}

	db, err = Open(isps, asn)
	require.NoError(t, err)
	require.Equal(t, "Telekom", db.Lookup(netip.MustParseAddr("198.41.0.9")).ISP, "the first that knows")
}

func TestInnerAddressesAreLocal(t *testing.T) {
	everywhere := write(t, "GeoLite2-Country", map[string]mmdbtype.Map{"0.0.0.0/0": cityOf("XX", "")})
	for _, files := range [][]string{nil, {everywhere}} {
		db, err := Open(files...)
		require.NoError(t, err)
		for _, ip := range []string{
			"127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.16.3.4", "169.254.1.1", "fe80::1%eth0", "fd00::7",
			"100.64.3.4", "::ffff:10.1.2.3",
		} {
			require.Equal(t, tracker.Place{ISP: "local", Region: "local"}, db.Lookup(netip.MustParseAddr(ip)), ip)
		}
	}
	db, err := Open()
	require.NoError(t, err)
	require.Equal(t, tracker.UnknownPlace, db.Lookup(netip.Addr{}))
	require.Equal(t, tracker.UnknownPlace, db.Lookup(netip.MustParseAddr("9.9.9.9")))
}

func TestNamesAreFitForAScreen(t *testing.T) {
	asn := write(t, "GeoLite2-ASN", map[string]mmdbtype.Map{
		"198.41.0.0/24": asOf(1, "Evil\x1b[2J\u202e\nNet"), "198.41.1.0/24": asOf(2, strings.Repeat("ü", 300)),
	})
	db, err := Open(asn)
	require.NoError(t, err)
	require.Equal(t, "Evil[2JNet", db.Lookup(netip.MustParseAddr("198.41.0.1")).ISP)
	require.Equal(t, strings.Repeat("ü", 63)+"…", db.Lookup(netip.MustParseAddr("198.41.1.1")).ISP)
}

func TestWhatIsNoDatabaseSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "GeoLite2-City.tar.gz")
	require.NoError(t, os.WriteFile(none, bytes.Repeat([]byte("not a database "), 1000), 0o600))
	empty := filepath.Join(dir, "empty.mmdb")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	good, err := os.ReadFile(write(t, "GeoLite2-ASN", map[string]mmdbtype.Map{"198.41.0.0/24": asOf(1, "x")}))
	require.NoError(t, err)
	cut := filepath.Join(dir, "cut.mmdb")
	require.NoError(t, os.WriteFile(cut, good[len(good)/2:], 0o600))
	other := write(t, "GeoIP2-Anonymous-IP", map[string]mmdbtype.Map{"198.41.0.0/24": {"is_anonymous": mmdbtype.Bool(true)}})
	for file, want := range map[string]string{
		none: "bring a City, Country, ASN or ISP database", empty: "bring a City, Country, ASN or ISP database",
		dir: "is no file", other: "GeoIP2-Anonymous-IP) tells neither provider nor region",
		filepath.Join(dir, "missing.mmdb"): "no such file", cut: "geo database " + cut,
	} {
		_, err := Open(file)
		require.ErrorContains(t, err, want, file)
		require.ErrorContains(t, err, file)
	}
}
