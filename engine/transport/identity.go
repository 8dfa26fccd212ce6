package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/wire"
)

// Identity is an Ed25519 key and the self-signed certificate that carries it.
// The certificate says nothing but the key: no name, no lasting time stamp.
type Identity struct {
	key  ed25519.PrivateKey
	cert tls.Certificate
}

// Nobody looks at a certificate's dates here; these only have to be valid.
var (
	certNotBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certNotAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280 §4.1.2.5: no expiry
)

// NewIdentity makes the identity of a key; a nil key makes a new one.
func NewIdentity(key ed25519.PrivateKey) (Identity, error) {
	if key == nil {
		_, fresh, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return Identity{}, fmt.Errorf("make identity key: %w", err)
		}
		key = fresh
	}
	if len(key) != ed25519.PrivateKeySize {
		return Identity{}, errors.New("identity key is not an Ed25519 private key")
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: certNotBefore, NotAfter: certNotAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("sign own certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Identity{}, fmt.Errorf("parse own certificate: %w", err)
	}
	return Identity{key: key, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, nil
}

// LoadOrCreateIdentity reads the PKCS #8 PEM file at path, or makes a key and
// writes it there, readable by its owner alone. An empty path makes a key that
// lives as long as the process.
func LoadOrCreateIdentity(path string) (Identity, error) {
	if path == "" {
		return NewIdentity(nil)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Identity{}, fmt.Errorf("identity file %s: no PEM block; remove the file to get a new identity", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Identity{}, fmt.Errorf("identity file %s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Identity{}, fmt.Errorf("identity file %s: the key is not Ed25519", path)
	}
	return NewIdentity(key)
}

func createIdentity(path string) (Identity, error) {
	id, err := NewIdentity(nil)
	if err != nil {
		return Identity{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return Identity{}, fmt.Errorf("encode identity: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Identity{}, fmt.Errorf("make identity folder: %w", err)
	}
	// A temporary file and a link: a process that dies half-way leaves no
	// broken identity, and of two that start together one wins.
	temp, err := os.CreateTemp(dir, ".identity-*") // mode 0600
	if err != nil {
		return Identity{}, fmt.Errorf("write identity: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return Identity{}, fmt.Errorf("write identity: %w", err)
	}
	switch err := os.Link(temp.Name(), path); {
	case err == nil:
		return id, nil
	case errors.Is(err, fs.ErrExist):
		return LoadOrCreateIdentity(path)
	}
	// File systems without links: the race is accepted there.
	if err := os.Rename(temp.Name(), path); err != nil {
		return Identity{}, fmt.Errorf("write identity: %w", err)
	}
	return id, nil
}

// ID returns the peer ID.
func (i Identity) ID() wire.PeerID { return PeerIDOf(i.PublicKey()) }

// PublicKey returns the public key; nil of the zero Identity.
func (i Identity) PublicKey() ed25519.PublicKey {
	if i.key == nil {
		return nil
	}
	return i.key.Public().(ed25519.PublicKey)
}

// PrivateKey returns the private key: a tracker signs its tickets with it.
func (i Identity) PrivateKey() ed25519.PrivateKey { return i.key }

// PeerIDOf returns the ID of the peer with that public key.
func PeerIDOf(pub ed25519.PublicKey) wire.PeerID { return sha256.Sum256(pub) }

// FingerprintOf returns what [Verify].ID pins of a certificate: the peer ID of
// an Ed25519 key, the SHA-256 of the SubjectPublicKeyInfo of any other.
func FingerprintOf(cert *x509.Certificate) wire.PeerID {
	if pub, ok := cert.PublicKey.(ed25519.PublicKey); ok {
		return PeerIDOf(pub)
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}
