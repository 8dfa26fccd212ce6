package wire

import "encoding/binary"

// ChannelHelloBytes is the size of a [ChannelHello].
const ChannelHelloBytes = 16

// channelVersion changes when sealed datagrams change incompatibly.
const channelVersion = 1

const channelMagic = "shoa"

const flagAES = 1 << 0

var (
	errHelloSize    = malformed("channel hello: not 16 bytes")
	errHelloMagic   = malformed("channel hello: not a shoal peer")
	errHelloVersion = malformed("channel hello: unknown version of sealed datagrams")
)

// ChannelHello opens a session's stream both ways: where the sender wants its
// sealed datagrams and whether it has AES instructions.
type ChannelHello struct {
	Receiver uint32
	AES      bool
}

// AppendChannelHello appends the 16 bytes.
func AppendChannelHello(b []byte, h ChannelHello) []byte {
	b = append(b, channelMagic...)
	b = append(b, channelVersion)
	var flags byte
	if h.AES {
		flags |= flagAES
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, h.Receiver)
	return append(b, make([]byte, 6)...)
}

// ParseChannelHello reads the 16 bytes.
func ParseChannelHello(b []byte) (ChannelHello, error) {
	switch {
	case len(b) != ChannelHelloBytes:
		return ChannelHello{}, errHelloSize
	case string(b[:4]) != channelMagic:
		return ChannelHello{}, errHelloMagic
	case b[4] != channelVersion:
		return ChannelHello{}, errHelloVersion
	}
	return ChannelHello{Receiver: binary.BigEndian.Uint32(b[6:]), AES: b[5]&flagAES != 0}, nil
}
