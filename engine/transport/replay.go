package transport

import "math/bits"

const (
	// replayBits is a power of two. A window of 8,128 packets is seven
	// milliseconds at 10 Gbit/s: more than any path reorders at that rate.
	replayBits  = 8192
	replayWords = replayBits / 64

	// minReplayWords is the first size: 256 packets, two hours of a peer that
	// says something to its tracker each minute.
	minReplayWords = 4

	// replayWindow is one word less: the word being filled may hold numbers
	// of the round before (RFC 6479 §3).
	replayWindow = replayBits - 64
)

// A replayFilter refuses packet numbers that were seen before or are too
// old to know (RFC 6479). The zero value has seen nothing.
type replayFilter struct {
	next uint64 // one above the highest seen
	// words has room for all numbers below next until there are replayWords;
	// its length is a power of two.
	words []uint64
}

// fresh tells whether a number may still be accepted; it changes nothing, so
// that it can be asked before a packet is known to be genuine.
func (f *replayFilter) fresh(number uint64) bool {
	switch {
	case number >= f.next:
		return true
	case f.next-number > replayWindow:
		return false
	}
	return *f.word(number / 64)&(1<<(number%64)) == 0
}

// seen notes a number that was fresh and proved genuine.
func (f *replayFilter) seen(number uint64) {
	if number >= f.next {
		f.grow(number/64 + 1)
		// Clear the words that the window moves over.
		from := uint64(0)
		if f.next > 0 {
			from = (f.next-1)/64 + 1
		}
		to := number / 64
		if to >= from && to-from >= replayWords {
			from = to - replayWords + 1
		}
		for w := from; w <= to; w++ {
			*f.word(w) = 0
		}
		f.next = number + 1
	}
	*f.word(number / 64) |= 1 << (number % 64)
}

func (f *replayFilter) word(i uint64) *uint64 { return &f.words[i&uint64(len(f.words)-1)] }

// grow makes room for so many words. Until there are replayWords, none has been
// used twice, and each keeps its place.
func (f *replayFilter) grow(words uint64) {
	if words <= uint64(len(f.words)) || len(f.words) == replayWords {
		return
	}
	size := replayWords
	if words < replayWords {
		size = max(1<<bits.Len64(words-1), minReplayWords)
	}
	grown := make([]uint64, size)
	copy(grown, f.words)
	f.words = grown
}
