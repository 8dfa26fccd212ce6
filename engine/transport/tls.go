package transport

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"shoal/internal/wire"
)

// A WrongPeerError tells that somebody else answered than the dialer expected.
type WrongPeerError struct{ Want, Got wire.PeerID }

// Error is part of error.
func (e *WrongPeerError) Error() string {
	return fmt.Sprintf("wrong peer: expected %s, got %s", e.Want.Hex(), e.Got.Hex())
}

var (
	errNoCertificate = errors.New("the other side sent no certificate")
	errNotEd25519    = errors.New("the other side's certificate key is not Ed25519")
)

// serverTLS accepts any Ed25519 client: who may do what is decided above, by
// peer ID and ticket. TLS has proved possession of the key (RFC 8446 §4.4.3).
func serverTLS(cfg Config) *tls.Config {
	cert := cfg.Identity.cert
	if cfg.Certificate != nil {
		cert = *cfg.Certificate
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		NextProtos:             cfg.ALPN,
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed session would carry no certificate
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := ed25519Of(state)
			return err
		},
	}
}

func clientTLS(id Identity, dc DialConfig) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{id.cert},
		NextProtos:   []string{dc.ALPN},
		MinVersion:   tls.VersionTLS13,
		ServerName:   dc.Verify.ServerName,
		RootCAs:      dc.Verify.Roots,
	}
	if dc.Verify.ServerName != "" {
		return cfg
	}
	// No name and no authority: the key itself is what is verified.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errNoCertificate
		}
		got := FingerprintOf(state.PeerCertificates[0])
		if want := dc.Verify.ID; !want.IsZero() && got != want {
			return &WrongPeerError{Want: want, Got: got}
		}
		return nil
	}
	return cfg
}

func ed25519Of(state tls.ConnectionState) (*x509.Certificate, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, errNoCertificate
	}
	if _, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey); !ok {
		return nil, errNotEd25519
	}
	return state.PeerCertificates[0], nil
}
