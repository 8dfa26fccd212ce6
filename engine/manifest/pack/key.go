package pack

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const maxKeyBytes = 64 << 10

// DefaultKeyFile is where a publisher's key lies when none is named: never beside the media, which a web server may serve.
func DefaultKeyFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for the publisher's key (%w): name one with --key", err)
	}
	return filepath.Join(dir, "shoal", "publisher.key"), nil
}

// LoadOrCreateKey is LoadKey, but makes a key, readable for its owner only, when the file does not exist.
func LoadOrCreateKey(file string) (key ed25519.PrivateKey, created bool, err error) {
	key, err = LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(file)
		return key, err == nil, err
	}
	return key, false, err
}

// LoadKey reads a publisher's Ed25519 key (PKCS #8 in PEM, as openssl genpkey -algorithm ed25519 writes it).
func LoadKey(file string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyBytes {
		return nil, fmt.Errorf("%s: not a key: %d bytes", file, info.Size())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a PKCS #8 private key in PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a key for another algorithm: make one with openssl genpkey -algorithm ed25519", file)
	}
	return key, nil
}

func createKey(file string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	// O_EXCL: of two packers that start at once one wins, and the other says so instead of overwriting an identity.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return key, err
}
