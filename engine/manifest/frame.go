package manifest

import (
	"crypto/ed25519"
	"encoding/binary"
)

const (
	magic          = "shoal\x1a"
	formatVersion  = 1
	fileIntroBytes = len(magic) + 2
	preambleBytes  = 20
	frameOverhead  = preambleBytes + ed25519.SignatureSize

	kindHeader = 'H'
	kindPage   = 'P'
	kindIndex  = 'I'
)

// seal is what a frame's signature binds it to; the zero value serves the header.
type seal struct {
	title   TitleID
	edition [16]byte
}

// frameHead is a frame's preamble.
type frameHead struct {
	kind         byte
	index        uint32
	payloadBytes uint32
	areaBytes    uint64
}

func appendFrameHead(b []byte, h frameHead) []byte {
	b = append(b, h.kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.index)
	b = binary.BigEndian.AppendUint32(b, h.payloadBytes)
	return binary.BigEndian.AppendUint64(b, h.areaBytes)
}

// parseFrameHead reads the preamble at the beginning of b, which must hold it.
func parseFrameHead(b []byte) (h frameHead, reserved bool) {
	h.kind = b[0]
	h.index = binary.BigEndian.Uint32(b[4:])
	h.payloadBytes = binary.BigEndian.Uint32(b[8:])
	h.areaBytes = binary.BigEndian.Uint64(b[12:])
	return h, b[1]|b[2]|b[3] != 0
}

func signedBytes(s seal, frame []byte) []byte {
	b := make([]byte, 0, 24+len(s.title)+len(s.edition)+len(frame))
	b = append(b, "shoal manifest frame v1\x00"...)
	b = append(b, s.title[:]...)
	b = append(b, s.edition[:]...)
	return append(b, frame...)
}

// appendFrame signs and appends a frame without its hash area.
func appendFrame(b []byte, key ed25519.PrivateKey, s seal, kind byte, index int, payload []byte, areaBytes int64) []byte {
	start := len(b)
	b = appendFrameHead(b, frameHead{
		kind: kind, index: uint32(index), payloadBytes: uint32(len(payload)), areaBytes: uint64(areaBytes),
	})
	b = append(b, payload...)
	return append(b, ed25519.Sign(key, signedBytes(s, b[start:]))...)
}

// openFrame checks a whole frame (preamble, payload, signature) against what the caller knows of it and returns its
// payload.
func openFrame(frame []byte, key ed25519.PublicKey, s seal, want frameHead, where string) ([]byte, error) {
	h, reserved := parseFrameHead(frame)
	switch {
	case h.kind != want.kind || reserved:
		return nil, &FormatError{Where: where + ": kind", What: "is not the expected frame"}
	case h.index != want.index:
		return nil, &FormatError{Where: where + ": index", What: "is not the expected frame"}
	case h.payloadBytes != want.payloadBytes || h.areaBytes != want.areaBytes:
		return nil, &FormatError{Where: where + ": length", What: "does not match the header"}
	}
	end := len(frame) - ed25519.SignatureSize
	if !ed25519.Verify(key, signedBytes(s, frame[:end]), frame[end:]) {
		return nil, &FormatError{Where: where + ": signature", What: "is not the publisher's"}
	}
	return frame[preambleBytes:end], nil
}
