// Package pieces has containers for what is keyed by pieces: sets of a file's
// pieces, and tables from (file, piece) to anything. Both are flat arrays, for
// they are asked many times for every piece that any peer gets.
//
// Files and indices are small and dense, and the caller's own: a peer's word
// must have been checked before it comes here. Nothing is safe for concurrent
// use.
package pieces

import "math/bits"

// Set is a set of a file's pieces. The zero value is empty; it takes memory as far as
// its pieces reach, at most a bit per piece of the file.
type Set struct{ words []uint64 }

// Has reports whether i is in the set.
func (s *Set) Has(i uint32) bool {
	w := i >> 6
	return int(w) < len(s.words) && s.words[w]&(1<<(i&63)) != 0
}

// Add puts i into the set of a file of count pieces; true if it was not there.
func (s *Set) Add(i, count uint32) bool {
	if s.Has(i) {
		return false
	}
	s.room(i+1, count)
	s.words[i>>6] |= 1 << (i & 63)
	return true
}

// Remove takes i out of the set; true if it was there.
func (s *Set) Remove(i uint32) bool {
	if !s.Has(i) {
		return false
	}
	s.words[i>>6] &^= 1 << (i & 63)
	return true
}

// AddRange puts [from, to) into the set of a file of count pieces.
func (s *Set) AddRange(from, to, count uint32) {
	if from < to {
		s.room(to, count)
	}
	s.each(from, to, func(w int, mask uint64) { s.words[w] |= mask })
}

// RemoveRange takes [from, to) out of the set.
func (s *Set) RemoveRange(from, to uint32) {
	s.each(from, min(to, uint32(len(s.words))*64), func(w int, mask uint64) { s.words[w] &^= mask })
}

// HasRange reports whether all of [from, to) is in the set.
func (s *Set) HasRange(from, to uint32) bool {
	if from < to && int((to-1)>>6) >= len(s.words) {
		return false
	}
	all := true
	s.each(from, to, func(w int, mask uint64) { all = all && s.words[w]&mask == mask })
	return all
}

// HasAny reports whether any of [from, to) is in the set.
func (s *Set) HasAny(from, to uint32) (any bool) {
	s.each(from, min(to, uint32(len(s.words))*64), func(w int, mask uint64) { any = any || s.words[w]&mask != 0 })
	return any
}

// Empty reports whether nothing is in the set.
func (s *Set) Empty() bool {
	for _, w := range s.words {
		if w != 0 {
			return false
		}
	}
	return true
}

// Len is how many pieces are in the set.
func (s *Set) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// All calls do for each piece, ascending.
func (s *Set) All(do func(uint32)) {
	for i, w := range s.words {
		for ; w != 0; w &= w - 1 {
			do(uint32(i*64 + bits.TrailingZeros64(w)))
		}
	}
}

// room makes room for the pieces below to of a file of count.
func (s *Set) room(to, count uint32) {
	if need := wordsFor(to); need > len(s.words) {
		size := min(max(need, 2*len(s.words)), wordsFor(max(to, count)))
		s.words = append(make([]uint64, 0, size), s.words...)[:size]
	}
}

func wordsFor(count uint32) int { return int((uint64(count) + 63) / 64) }

// each calls do for the words of [from, to).
func (s *Set) each(from, to uint32, do func(w int, mask uint64)) {
	for from < to {
		w := from >> 6
		end := min((w+1)<<6, to)
		do(int(w), ^uint64(0)<<(from&63)&(^uint64(0)>>((64-end&63)&63)))
		from = end
	}
}

// Trimmed returns a list in less memory when it has shrunk to a fraction of what it was:
// a viewer who starts or seeks needs ten times the pieces of one who goes on.
func Trimmed[T any](list []T) []T {
	if cap(list) <= trimAbove || len(list) > cap(list)/trimShare {
		return list
	}
	return append(make([]T, 0, 2*len(list)), list...)
}

const (
	trimAbove = 64
	trimShare = 4
)

// Table maps pieces to values. The zero value is empty. It keeps a page for
// every 64 pieces of which any has a value.
type Table[T any] struct {
	files []([]*page[T])
	count int
}

type page[T any] struct {
	values [64]*T
	count  int
}

// Get returns the value of a piece, or nil.
func (t *Table[T]) Get(file, index uint32) *T {
	if int(file) < len(t.files) {
		if pages := t.files[file]; int(index>>6) < len(pages) {
			if p := pages[index>>6]; p != nil {
				return p.values[index&63]
			}
		}
	}
	return nil
}

// Put sets the value of a piece, which is not nil.
func (t *Table[T]) Put(file, index uint32, v *T) {
	for int(file) >= len(t.files) {
		t.files = append(t.files, nil)
	}
	pages := t.files[file]
	for int(index>>6) >= len(pages) {
		pages = append(pages, nil)
	}
	t.files[file] = pages
	p := pages[index>>6]
	if p == nil {
		p = new(page[T])
		pages[index>>6] = p
	}
	if p.values[index&63] == nil {
		p.count++
		t.count++
	}
	p.values[index&63] = v
}

// Delete removes the value of a piece.
func (t *Table[T]) Delete(file, index uint32) {
	if t.Get(file, index) == nil {
		return
	}
	pages := t.files[file]
	p := pages[index>>6]
	p.values[index&63] = nil
	t.count--
	if p.count--; p.count > 0 {
		return
	}
	pages[index>>6] = nil
	for len(pages) > 0 && pages[len(pages)-1] == nil {
		pages = pages[:len(pages)-1]
	}
	t.files[file] = pages
	if len(pages) == 0 {
		t.files[file] = nil
	}
}

// Any reports whether a piece of a file has a value.
func (t *Table[T]) Any(file uint32) bool { return int(file) < len(t.files) && len(t.files[file]) > 0 }

// Len is how many pieces have a value.
func (t *Table[T]) Len() int { return t.count }

// All calls do for each value, by file and index.
func (t *Table[T]) All(do func(*T)) {
	for _, pages := range t.files {
		for _, p := range pages {
			if p == nil {
				continue
			}
			for _, v := range p.values {
				if v != nil {
					do(v)
				}
			}
		}
	}
}
