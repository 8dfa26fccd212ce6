package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLineTakesThatSomebodyNeedsIt(t *testing.T) {
	n := newFakeNode(t)
	p := newTestProxy(t, n)
	require.Equal(t, http.StatusOK, request(t, p, http.MethodPost, "/api/line?user_active=90s").Code)
	require.Equal(t, 90*time.Second, n.active)
	require.Equal(t, http.StatusOK, request(t, p, http.MethodPost, "/api/line?user_active=0s").Code)
	require.Zero(t, n.active)

	w := request(t, p, http.MethodGet, "/api/line")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "limit_bytes_per_sec")

	for _, bad := range []string{"", "?user_active=soon", "?user_active=-1s"} {
		w := request(t, p, http.MethodPost, "/api/line"+bad)
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.Contains(t, w.Body.String(), "user_active=90s")
	}
	require.Equal(t, http.StatusForbidden, request(t, p, http.MethodPost, "/api/line?user_active=90s", "Origin", "https://evil.example").Code)
	require.Zero(t, n.active)
}
