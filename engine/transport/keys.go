package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"runtime"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"

	"shoal/internal/wire"
)

const (
	exporterLabel = "EXPORTER-shoal-sealed-datagrams"

	keyBytes    = 32 // ChaCha20
	aesKeyBytes = 16 // AES-128 takes the first ones
	saltBytes   = 4
	nonceBytes  = 12

	// Packets that one AES-GCM key may protect: 2²⁸ for packets of at most
	// 2¹¹ bytes, of which ours are (RFC 9001 §6.6 and appendix B.1). That is
	// 256 GiB of DATA. ChaCha20-Poly1305 has no such limit (§6.6); it gets the
	// same one, for what is reached never is not tested by anybody.
	maxSealedPackets = 1 << 28

	// Forged packets that a key may see: 2⁵² for AES-GCM, 2³⁶ for
	// ChaCha20-Poly1305 (RFC 9001 §6.6); the lower one for both.
	maxForgedPackets = 1 << 36
)

// hasAES tells whether AES-GCM is fast, and constant in time, on this machine.
var hasAES = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 ||
	cpu.ARM64.HasAES && cpu.ARM64.HasPMULL ||
	runtime.GOOS == "darwin" && runtime.GOARCH == "arm64" || // every one has
	cpu.S390X.HasAES && cpu.S390X.HasAESGCM

// A secret is what the protection of one direction is made of.
type secret struct {
	key  [keyBytes]byte
	salt [saltBytes]byte
	aes  bool // or else ChaCha20-Poly1305
}

// keyHalf protects one direction.
type keyHalf struct {
	aead  cipher.AEAD
	nonce [nonceBytes]byte // salt, then the packet number of the packet at hand
}

func (k *keyHalf) nonceFor(number uint64) []byte {
	binary.BigEndian.PutUint64(k.nonce[saltBytes:], number)
	return k.nonce[:]
}

// deriveKeys exports the keys of both directions from a control connection, as
// DTLS-SRTP does (RFC 5705, RFC 8446 §7.5). The context binds what the peers
// told each other before: the cipher and both receiver indices.
func deriveKeys(state *tls.ConnectionState, dialed bool, own, theirs wire.ChannelHello) (send, receive secret, err error) {
	dialer, acceptor := own, theirs
	if !dialed {
		dialer, acceptor = theirs, own
	}
	context := wire.AppendChannelHello(nil, dialer)
	context = wire.AppendChannelHello(context, acceptor)
	const half = keyBytes + saltBytes
	material, err := state.ExportKeyingMaterial(exporterLabel, context, 2*half)
	if err != nil {
		return secret{}, secret{}, fmt.Errorf("export keys: %w", err)
	}
	useAES := own.AES && theirs.AES
	send, receive = newSecret(material[:half], useAES), newSecret(material[half:], useAES)
	if !dialed {
		send, receive = receive, send
	}
	return send, receive, nil
}

func newSecret(material []byte, useAES bool) secret {
	s := secret{aes: useAES}
	copy(s.salt[:], material[copy(s.key[:], material):])
	return s
}

// half makes the cipher, which takes some hundred bytes and less than a
// microsecond: a channel at rest has none.
func (s *secret) half() keyHalf {
	aead, err := s.cipher()
	if err != nil {
		panic("BUG: key of a wrong length: " + err.Error())
	}
	k := keyHalf{aead: aead}
	copy(k.nonce[:], s.salt[:])
	return k
}

func (s *secret) cipher() (cipher.AEAD, error) {
	if !s.aes {
		return chacha20poly1305.New(s.key[:])
	}
	block, err := aes.NewCipher(s.key[:aesKeyBytes])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
