package ticket_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"shoal/internal/wire"
	"shoal/tracker/ticket"
)

var (
	now        = time.Date(2026, 1, 2, 20, 15, 0, 0, time.UTC)
	trackerKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	otherKey   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	alice      = wire.PeerID{0: 'a'}
	mallory    = wire.PeerID{0: 'm'}
	film       = [32]byte{0: 'f'}
	series     = [32]byte{0: 's'}
	verifier   = ticket.Verifier{TrackerKey: trackerKey.Public().(ed25519.PublicKey)}
)

func sign(t testing.TB, key ed25519.PrivateKey) []byte {
	t.Helper()
	token, err := ticket.Sign(key, ticket.Claims{Peer: alice, Title: film, Issued: now, Expires: now.Add(ticket.Lifetime)})
	require.NoError(t, err)
	return token
}

func TestTicketAdmitsItsPeerToItsTitle(t *testing.T) {
	token := sign(t, trackerKey)
	require.Less(t, len(token), wire.TrackerTicketBytesMax)
	require.NoError(t, verifier.Verify(token, alice, film, now))
	require.NoError(t, verifier.Verify(token, alice, film, now.Add(ticket.Lifetime-time.Second)))
	require.Equal(t, now.Add(ticket.Lifetime/2), ticket.RenewAt(token).UTC())

	claims, err := verifier.Open(token, now)
	require.NoError(t, err)
	require.Equal(t, alice, claims.Peer)
	require.Equal(t, film, claims.Title)
	require.True(t, claims.Issued.Equal(now))
}

func TestTicketIsRefused(t *testing.T) {
	good := sign(t, trackerKey)
	parts := bytes.Split(good, []byte("."))
	reencode := func(header, claims string) []byte {
		e := base64.RawURLEncoding
		return []byte(e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(claims)) + "." + string(parts[2]))
	}
	kid := ticket.KeyID(verifier.TrackerKey)
	mint := func(method jwt.SigningMethod, key any, typ string, claims jwt.MapClaims) []byte {
		token := jwt.NewWithClaims(method, claims)
		token.Header["typ"], token.Header["kid"] = typ, kid
		signed, err := token.SignedString(key)
		require.NoError(t, err)
		return []byte(signed)
	}
	claims := jwt.MapClaims{
		"iss": kid, "exp": now.Add(time.Hour).Unix(),
		"sub": base64.RawURLEncoding.EncodeToString(alice[:]), "title": base64.RawURLEncoding.EncodeToString(film[:]),
	}
	with := func(key string, value any) jwt.MapClaims {
		changed := jwt.MapClaims{}
		for k, v := range claims {
			changed[k] = v
		}
		if changed[key] = value; value == nil {
			delete(changed, key)
		}
		return changed
	}
	const typ = "shoal-ticket"
	require.NoError(t, verifier.Verify(mint(jwt.SigningMethodEdDSA, trackerKey, typ, claims), alice, film, now), "the minted base case is good")

	for name, c := range map[string]struct {
		token []byte
		peer  wire.PeerID
		title [32]byte
		at    time.Time
		want  error
	}{
		"shown by another peer":         {good, mallory, film, now, ticket.ErrOtherPeer},
		"for another title":             {good, alice, series, now, ticket.ErrOtherTitle},
		"after it expired":              {good, alice, film, now.Add(ticket.Lifetime + ticket.Leeway + time.Second), ticket.ErrExpired},
		"before it was issued":          {good, alice, film, now.Add(-ticket.Leeway - time.Second), ticket.ErrNotYet},
		"from another tracker":          {sign(t, otherKey), alice, film, now, ticket.ErrTracker},
		"forged under the tracker's id": {mint(jwt.SigningMethodEdDSA, otherKey, typ, claims), alice, film, now, ticket.ErrForged},
		"signature of other claims":     {reencode(`{"alg":"EdDSA","typ":"shoal-ticket","kid":"`+kid+`"}`, `{"exp":9999999999}`), alice, film, now, ticket.ErrForged},
		"signature cut off":             {append(append(append([]byte{}, parts[0]...), '.'), append(parts[1], '.')...), alice, film, now, ticket.ErrForged},
		"algorithm none":                {mint(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, typ, claims), alice, film, now, ticket.ErrForged},
		"public key as HMAC secret":     {mint(jwt.SigningMethodHS256, []byte(verifier.TrackerKey), typ, claims), alice, film, now, ticket.ErrForged},
		"a token for another purpose":   {mint(jwt.SigningMethodEdDSA, trackerKey, "JWT", claims), alice, film, now, ticket.ErrMalformed},
		"without expiry":                {mint(jwt.SigningMethodEdDSA, trackerKey, typ, with("exp", nil)), alice, film, now, ticket.ErrMalformed},
		"without peer":                  {mint(jwt.SigningMethodEdDSA, trackerKey, typ, with("sub", nil)), alice, film, now, ticket.ErrMalformed},
		"short title":                   {mint(jwt.SigningMethodEdDSA, trackerKey, typ, with("title", "Zg")), alice, film, now, ticket.ErrMalformed},
		"issuer of another key":         {mint(jwt.SigningMethodEdDSA, trackerKey, typ, with("iss", "x")), alice, film, now, ticket.ErrTracker},
		"garbage":                       {[]byte("..."), alice, film, now, ticket.ErrMalformed},
		"empty":                         {nil, alice, film, now, ticket.ErrMalformed},
		"too long":                      {bytes.Repeat([]byte("a"), ticket.BytesMax+1), alice, film, now, ticket.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, verifier.Verify(c.token, c.peer, c.title, c.at), c.want)
		})
	}
}

func TestClocksMayDifferByTheLeeway(t *testing.T) {
	token := sign(t, trackerKey)
	require.NoError(t, verifier.Verify(token, alice, film, now.Add(ticket.Lifetime+ticket.Leeway-time.Second)))
	require.NoError(t, verifier.Verify(token, alice, film, now.Add(-ticket.Leeway+time.Second)))
}

func TestVerifierWithoutKeyRefusesAll(t *testing.T) {
	require.ErrorIs(t, ticket.Verifier{}.Verify(sign(t, trackerKey), alice, film, now), ticket.ErrTracker)
}

func TestTicketIsRenewedInTheMiddleOfItsLife(t *testing.T) {
	withoutIssue, err := ticket.Sign(trackerKey, ticket.Claims{Peer: alice, Title: film, Expires: now})
	require.NoError(t, err)
	require.Equal(t, now.Add(-ticket.Lifetime/2), ticket.RenewAt(withoutIssue).UTC())
	short, err := ticket.Sign(trackerKey, ticket.Claims{Issued: now, Expires: now.Add(10 * time.Second)})
	require.NoError(t, err)
	require.Equal(t, now.Add(5*time.Second), ticket.RenewAt(short).UTC())
	for _, broken := range []string{"", "a.b", "a.!.c", "a.e30.c", "a.bm8.c"} {
		require.True(t, ticket.RenewAt([]byte(broken)).IsZero(), broken)
	}
}

func TestSignNeedsKeyAndExpiry(t *testing.T) {
	_, err := ticket.Sign(nil, ticket.Claims{Expires: now})
	require.ErrorContains(t, err, "not an Ed25519 private key")
	_, err = ticket.Sign(trackerKey, ticket.Claims{})
	require.ErrorContains(t, err, "never expires")
}

func FuzzVerify(f *testing.F) {
	good := sign(f, trackerKey)
	f.Add(good)
	f.Add([]byte("a.b.c"))
	f.Add(sign(f, otherKey))
	f.Fuzz(func(t *testing.T, token []byte) {
		_ = ticket.RenewAt(token)
		claims, err := verifier.Open(token, now)
		if err == nil {
			// Only the tracker's own words pass, however they are wrapped.
			require.Equal(t, alice, claims.Peer)
			require.Equal(t, film, claims.Title)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	token := sign(b, trackerKey)
	b.ReportAllocs()
	for b.Loop() {
		if err := verifier.Verify(token, alice, film, now); err != nil {
			b.Fatal(err)
		}
	}
}
