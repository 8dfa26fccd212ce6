package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"time"

	"github.com/quic-go/quic-go"
)

// What one stream takes that carries random bytes which nobody verifies: TLS 1.3
// over TCP, and quic-go.

const (
	streamALPN = "transfer"

	// streamBuffer is written and read at once, streamSource what is sent again
	// and again: as much as a processor's caches do not hold.
	streamBuffer = 256 << 10
	streamSource = 64 << 20
)

func measureStream(kind string, mib int) (measurement, error) {
	role := func(side string, args ...string) *exec.Cmd {
		return exec.Command(os.Args[0], append([]string{"--role", kind + "-" + side, "--mib", fmt.Sprint(mib)}, args...)...)
	}
	return race(role("seed"), func(addr string) *exec.Cmd { return role("leech", "--addr", addr) })
}

func seedTLS() (*tls.Config, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{streamALPN}, MinVersion: tls.VersionTLS13,
	}, err
}

func leechTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{streamALPN}, MinVersion: tls.VersionTLS13}
}

// quicConfig has windows that loopback does not fill.
func quicConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow: 8 << 20, MaxStreamReceiveWindow: 32 << 20,
		InitialConnectionReceiveWindow: 8 << 20, MaxConnectionReceiveWindow: 48 << 20,
	}
}

func quicSeed(mib int) error {
	cfg, err := seedTLS()
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr("127.0.0.1:0", cfg, quicConfig())
	if err != nil {
		return err
	}
	go func() {
		ctx := context.Background()
		conn, err := l.Accept(ctx)
		if err != nil {
			return
		}
		if s, err := conn.OpenUniStreamSync(ctx); err == nil && pour(s, mib) == nil {
			_ = s.Close()
		}
	}()
	fmt.Println("ready", l.Addr())
	return serveLines(func() int64 { return 0 })
}

func quicLeech(addr string) error {
	return streamLeech(func() (io.Reader, error) {
		ctx := context.Background()
		conn, err := quic.DialAddr(ctx, addr, leechTLS(), quicConfig())
		if err != nil {
			return nil, err
		}
		return conn.AcceptUniStream(ctx)
	})
}

func tlsSeed(mib int) error {
	cfg, err := seedTLS()
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	go func() {
		conn, err := l.Accept()
		if err == nil && pour(conn, mib) == nil {
			_ = conn.Close()
		}
	}()
	fmt.Println("ready", l.Addr())
	return serveLines(func() int64 { return 0 })
}

func tlsLeech(addr string) error {
	return streamLeech(func() (io.Reader, error) { return (&tls.Dialer{Config: leechTLS()}).Dial("tcp", addr) })
}

// pour writes random bytes.
func pour(w io.Writer, mib int) error {
	source := make([]byte, streamSource)
	_, _ = rand.Read(source)
	for left := mib << 20; left > 0; {
		b := source[left%streamSource:]
		n, err := w.Write(b[:min(len(b), streamBuffer, left)])
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func streamLeech(open func() (io.Reader, error)) error {
	fmt.Println("ready")
	if err := awaitLine(); err != nil {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	total, buf := int64(0), make([]byte, streamBuffer)
	for {
		n, err := r.Read(buf)
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	fmt.Println("done", total)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
