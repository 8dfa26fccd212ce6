//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nginx is the CDN: one process that serves a folder on several ports, so that
// its log tells who has fetched what.
type nginx struct {
	*process
	ports     []int
	accessLog string
}

// hit is one line of the access log.
type hit struct {
	port, status int
	bytes        int64
	method, uri  string
}

const nginxConfig = `daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
	types {
		application/vnd.apple.mpegurl m3u8;
		video/iso.segment m4s;
		video/mp4 mp4;
		video/mp2t ts;
	}
	default_type application/octet-stream;
	log_format bytes '$server_port $status $body_bytes_sent $request_method $request_uri';
	access_log access.log bytes;
	client_body_temp_path temp/body;
	proxy_temp_path temp/proxy;
	fastcgi_temp_path temp/fastcgi;
	uwsgi_temp_path temp/uwsgi;
	scgi_temp_path temp/scgi;
	server {
%s		root %s;
		log_not_found off;
		%s
	}
}
`

// startNginx serves folder root on as many ports; extra are further directives.
func startNginx(t *testing.T, root string, ports int, extra ...string) *nginx {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "temp"), 0o755))
	n := &nginx{ports: freePorts(t, ports), accessLog: filepath.Join(dir, "access.log")}
	var listen strings.Builder
	for _, port := range n.ports {
		fmt.Fprintf(&listen, "\t\tlisten 127.0.0.1:%d;\n", port)
	}
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConfig, listen.String(), root, strings.Join(extra, "\n\t\t"))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o644))
	n.process = start(t, "nginx", nginxPath, "-p", dir, "-c", config)
	n.eventually(func() bool {
		for _, port := range n.ports {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return false
			}
			_ = conn.Close()
		}
		return true
	}, "nginx listens")
	return n
}

// Systems give ports above these to whoever names none, e.g. to clients. A port
// among these is still free when the program that is told of it comes to listen,
// and when it comes back.
const firstPort, lastPort = 20000, 32767

// freePorts returns TCP ports that nobody listens on.
func freePorts(t *testing.T, count int) (ports []int) {
	t.Helper()
	for len(ports) < count {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer func() { _ = l.Close() }() // all stay taken until all are chosen
			ports = append(ports, port)
		}
	}
	return ports
}

// url is the origin's prefix as the i-th peer knows it.
func (n *nginx) url(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", n.ports[i]) }

// hits are the requests on the i-th port so far.
func (n *nginx) hits(i int) (hits []hit) {
	n.t.Helper()
	text, err := os.ReadFile(n.accessLog)
	require.NoError(n.t, err)
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 5)
		require.Len(n.t, fields, 5, "access log: %q", line)
		h := hit{method: fields[3], uri: fields[4]}
		h.port, err = strconv.Atoi(fields[0])
		require.NoError(n.t, err)
		h.status, err = strconv.Atoi(fields[1])
		require.NoError(n.t, err)
		h.bytes, err = strconv.ParseInt(fields[2], 10, 64)
		require.NoError(n.t, err)
		if h.port == n.ports[i] {
			hits = append(hits, h)
		}
	}
	return hits
}

// sent sums up what the i-th port has sent: all of it, and of it media, which
// playlists and manifest are not.
func (n *nginx) sent(i int) (all, media int64) {
	n.t.Helper()
	for _, h := range n.hits(i) {
		if h.status >= http.StatusBadRequest {
			continue
		}
		all += h.bytes
		switch filepath.Ext(strings.SplitN(h.uri, "?", 2)[0]) {
		case ".m3u8", ".shoal":
		default:
			media += h.bytes
		}
	}
	return all, media
}

// tries counts the requests for a path on the i-th port.
func (n *nginx) tries(i int, uri string) (count int) {
	n.t.Helper()
	for _, h := range n.hits(i) {
		if h.uri == uri {
			count++
		}
	}
	return count
}
