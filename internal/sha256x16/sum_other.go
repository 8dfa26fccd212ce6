//go:build !amd64

package sha256x16

// Available is false on this architecture.
const Available = false

// Sum must not be called.
func Sum(*[Lanes][32]byte, *[Lanes][]byte) { panic("BUG: sha256x16 is not available") }
