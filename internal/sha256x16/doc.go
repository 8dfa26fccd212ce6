// Package sha256x16 hashes sixteen messages at once with SHA-256, each in a lane of
// AVX-512's registers: twice as fast as one after the other with SHA instructions.
// Where [Available] is false there is crypto/sha256.
//
// It is for what is public. All lanes do the same whatever the data.
package sha256x16

// Lanes is how many messages are hashed at once.
const Lanes = 16
