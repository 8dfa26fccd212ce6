package manifest

import "container/list"

// lru is a bounded cache of things that cost bytes. It is not safe for concurrent use; Title.mu guards it.
type lru[K comparable, V any] struct {
	limitBytes int
	bytes      int
	order      *list.List // front = most recently used
	entries    map[K]*list.Element
	evicted    func(K, V) // may be nil
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	bytes int
}

func newLRU[K comparable, V any](limitBytes int) *lru[K, V] {
	return &lru[K, V]{limitBytes: limitBytes, order: list.New(), entries: make(map[K]*list.Element)}
}

func (c *lru[K, V]) get(key K) (V, bool) {
	if e, ok := c.entries[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*lruEntry[K, V]).value, true
	}
	var zero V
	return zero, false
}

// put adds or replaces an entry and evicts the oldest until the bound holds; the newest always stays.
func (c *lru[K, V]) put(key K, value V, bytes int) {
	if e, ok := c.entries[key]; ok {
		c.remove(e)
	}
	c.entries[key] = c.order.PushFront(&lruEntry[K, V]{key: key, value: value, bytes: bytes})
	c.bytes += bytes
	for c.bytes > c.limitBytes && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

func (c *lru[K, V]) remove(e *list.Element) {
	entry := c.order.Remove(e).(*lruEntry[K, V])
	delete(c.entries, entry.key)
	c.bytes -= entry.bytes
	if c.evicted != nil {
		c.evicted(entry.key, entry.value)
	}
}
