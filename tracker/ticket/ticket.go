// Package ticket makes and checks the tickets by which a tracker admits peers.
//
// A ticket says "this tracker lets this peer take part in this title until
// then". It is a JSON Web Token (RFC 7519) signed with EdDSA over Ed25519
// (RFC 8037), so operators can read and mint tickets with the tools they have.
// A seed checks the ticket of a leech offline, with nothing but the tracker's
// public key: the death of a tracker interrupts no playback.
//
// The package does not decide who is admitted, and it keeps no list of revoked
// tickets. Sign and Verify are pure functions; any goroutine may call them.
package ticket

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"shoal/internal/wire"
)

const (
	// Lifetime is how long a fresh ticket is valid.
	Lifetime = time.Hour

	// Leeway is how far the clocks of tracker and seed may be apart. Home
	// machines without NTP are often minutes off.
	Leeway = 2 * time.Minute

	// BytesMax bounds a ticket before anything in it is parsed: the limit of the
	// peers' Join message. A ticket of ours has about 400 bytes.
	BytesMax = 2048

	// tokenType pins the "typ" header, so that another EdDSA token signed with
	// the same key for another purpose is not taken for a ticket (RFC 8725 §3.11).
	tokenType = "shoal-ticket"
)

// What is wrong with a ticket. Verify wraps exactly one of them.
var (
	ErrMalformed  = errors.New("ticket is malformed")
	ErrForged     = errors.New("ticket has a wrong signature")
	ErrTracker    = errors.New("ticket is from another tracker")
	ErrExpired    = errors.New("ticket has expired")
	ErrNotYet     = errors.New("ticket is not valid yet")
	ErrOtherPeer  = errors.New("ticket was issued to another peer")
	ErrOtherTitle = errors.New("ticket is for another title")
)

// Claims is what a ticket says.
type Claims struct {
	Peer    wire.PeerID // who is admitted
	Title   [32]byte    // to what
	Issued  time.Time   // not valid before; zero: not stated
	Expires time.Time   // not valid after; required
}

// wireClaims are the JSON claims: registered names where RFC 7519 §4.1 has one.
type wireClaims struct {
	Title string `json:"title"`
	jwt.RegisteredClaims
}

// KeyID names a tracker's key: the first 16 bytes of its SHA-256, in base64url.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Sign returns the ticket for c, signed with the tracker's key.
func Sign(key ed25519.PrivateKey, c Claims) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("sign ticket: the key is not an Ed25519 private key")
	}
	if c.Expires.IsZero() {
		return nil, errors.New("sign ticket: it never expires")
	}
	public := key.Public().(ed25519.PublicKey)
	claims := wireClaims{
		Title: encodeID(c.Title),
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    KeyID(public),
			Subject:   encodeID(c.Peer),
			ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
	}
	if !c.Issued.IsZero() {
		claims.NotBefore = jwt.NewNumericDate(c.Issued)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["typ"] = tokenType
	token.Header["kid"] = KeyID(public)
	signed, err := token.SignedString(key)
	if err != nil {
		return nil, fmt.Errorf("sign ticket: %w", err)
	}
	return []byte(signed), nil
}

// Verifier checks tickets of one tracker. The zero value refuses all.
type Verifier struct {
	TrackerKey ed25519.PublicKey
}

// Verify reports why peer may not take part in title with this ticket at now,
// or nil. The error wraps one of the Err… values.
func (v Verifier) Verify(token []byte, peer wire.PeerID, title [32]byte, now time.Time) error {
	c, err := v.Open(token, now)
	switch {
	case err != nil:
		return err
	case c.Peer != peer:
		return ErrOtherPeer
	case c.Title != title:
		return ErrOtherTitle
	}
	return nil
}

// Open checks signature and dates of a ticket and returns what it says.
func (v Verifier) Open(token []byte, now time.Time) (Claims, error) {
	if len(token) == 0 || len(token) > BytesMax {
		return Claims{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(token))
	}
	if len(v.TrackerKey) != ed25519.PublicKeySize {
		return Claims{}, fmt.Errorf("%w: no tracker key is known", ErrTracker)
	}
	parser := jwt.NewParser(
		// The algorithm is pinned: a token that names another one ("none",
		// HS256 with the public key as secret) is refused (RFC 8725 §3.1).
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	)
	var claims wireClaims
	_, err := parser.ParseWithClaims(string(token), &claims, func(t *jwt.Token) (any, error) {
		if typ, _ := t.Header["typ"].(string); typ != tokenType {
			return nil, fmt.Errorf("%w: not of type %s", ErrMalformed, tokenType)
		}
		if kid, _ := t.Header["kid"].(string); kid != KeyID(v.TrackerKey) {
			return nil, ErrTracker
		}
		return v.TrackerKey, nil
	})
	if err != nil {
		return Claims{}, classify(err)
	}
	if claims.Issuer != KeyID(v.TrackerKey) {
		return Claims{}, ErrTracker
	}
	return claims.decode()
}

// RenewAt is when a ticket should be replaced: in the middle of its life, so
// that a tracker may be away for half an hour before its peers' tickets run
// out. It does not check the signature: it is for the peer that got the ticket
// from its own tracker over an authenticated session. The zero time, long past,
// is returned for a ticket that cannot be read.
func RenewAt(token []byte) time.Time {
	parts := bytes.Split(token, []byte("."))
	if len(token) > BytesMax || len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
	if err != nil {
		return time.Time{}
	}
	var claims wireClaims
	if json.Unmarshal(body, &claims) != nil || claims.ExpiresAt == nil {
		return time.Time{}
	}
	expires := claims.ExpiresAt.Time
	if claims.NotBefore == nil {
		return expires.Add(-Lifetime / 2)
	}
	return expires.Add(-expires.Sub(claims.NotBefore.Time) / 2)
}

func (c wireClaims) decode() (Claims, error) {
	peer, err := decodeID(c.Subject)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: sub: %w", ErrMalformed, err)
	}
	title, err := decodeID(c.Title)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: title: %w", ErrMalformed, err)
	}
	out := Claims{Peer: peer, Title: title, Expires: c.ExpiresAt.Time}
	if c.NotBefore != nil {
		out.Issued = c.NotBefore.Time
	}
	return out, nil
}

// classify turns the JWT library's errors into ours. Signature before dates: a
// forged ticket is never called merely expired.
func classify(err error) error {
	switch {
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrTracker):
		return err
	case errors.Is(err, jwt.ErrTokenMalformed):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return fmt.Errorf("%w: %w", ErrForged, err)
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrNotYet
	default:
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
}

func encodeID(id [32]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func decodeID(s string) (id [32]byte, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return id, err
	}
	if len(b) != len(id) {
		return id, fmt.Errorf("has %d bytes, want %d", len(b), len(id))
	}
	return [32]byte(b), nil
}
