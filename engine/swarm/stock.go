package swarm

import (
	"cmp"
	"slices"
	"time"
)

// stock is a file of which something is stored, with its place in time: all of them are
// looked through whenever a leech tells of its interest, and lie side by side here.
type stock struct {
	file     File
	single   bool // it has just this place; else see the file
	title    Title
	from, to time.Duration
}

// inStock returns a file's place in c.stocked, and whether it is there.
func (c *Core) inStock(id File) (int, bool) {
	return slices.BinarySearchFunc(c.stocked, id, func(s stock, id File) int { return cmp.Compare(s.file, id) })
}

// stock notes that something of a file is stored, and where the file has its place.
func (c *Core) stock(id File) {
	i, ok := c.inStock(id)
	if !ok {
		c.stocked = slices.Insert(c.stocked, i, stock{})
	}
	c.stocked[i] = stock{file: id}
	if places := c.files[id].places; len(places) == 1 && places[0].timed {
		pl := &places[0]
		c.stocked[i] = stock{file: id, single: true, title: pl.title, from: pl.from, to: pl.to}
	}
}

// within reports whether any of some ranges touches the file.
func (c *Core) within(s *stock, ranges []interest) bool {
	if !s.single {
		return c.files[s.file].within(0, ranges)
	}
	for i := range ranges {
		if in := &ranges[i]; in.active && in.title == s.title && s.from < in.to && in.from < s.to {
			return true
		}
	}
	return false
}
