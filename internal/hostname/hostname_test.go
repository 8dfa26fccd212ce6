package hostname

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesAreComparedWithoutPortCaseAndBrackets(t *testing.T) {
	for host, want := range map[string]string{
		"Node.Example": "node.example", "node.example.": "node.example", "node.example:7070": "node.example",
		"127.0.0.1:1": "127.0.0.1", "[::1]": "::1", "[::1]:7070": "::1", "": "",
	} {
		require.Equal(t, want, Of(host), host)
	}
	s := NewSet([]string{"TV.lan:8080"})
	for host, want := range map[string]bool{
		"tv.lan": true, "TV.LAN:1": true, "localhost:7070": true, "a.localhost": true,
		"evil.test": false, "localhost.evil.test": false, "notlocalhost": false, "": false,
	} {
		require.Equal(t, want, s.Has(Of(host)), host)
	}
}
