package replay

import (
	"cmp"
	"slices"
	"time"
)

// mail is a message that waits for its reader.
type mail struct {
	mine *end // the reader's
	c    *conn
	msg  any
	next int32 // unused place, plus one
}

// mailbox holds what is on its way to a node, by the time at which it comes.
type mailbox struct {
	urgent, patient heap4 // of places in pool; only the urgent wakes its reader
	pool            []mail
	free            int32 // first of the list of unused places, plus one
	seq             uint64
	due             []entry
}

// put adds a message that comes at a time.
func (b *mailbox) put(at time.Duration, urgent bool, m mail) {
	i := b.free
	if i == 0 {
		b.pool = append(b.pool, mail{})
		i = int32(len(b.pool))
	}
	b.free = b.pool[i-1].next
	b.pool[i-1] = m
	b.seq++
	queue := &b.patient
	if urgent {
		queue = &b.urgent
	}
	queue.push(entry{at: at, seq: b.seq, ev: i})
}

// take calls read with what has come by now, in the order in which it was sent.
func (b *mailbox) take(now time.Duration, read func(mail)) {
	for _, queue := range []*heap4{&b.urgent, &b.patient} {
		for len(*queue) > 0 && (*queue)[0].at <= now {
			b.due = append(b.due, queue.pop())
		}
	}
	slices.SortFunc(b.due, func(x, y entry) int { return cmp.Compare(x.seq, y.seq) })
	for _, e := range b.due {
		m := b.pool[e.ev-1]
		b.pool[e.ev-1], b.free = mail{next: b.free}, e.ev
		read(m)
	}
	b.due = b.due[:0]
}

// wakesAt is when the next urgent message comes.
func (b *mailbox) wakesAt() time.Duration {
	if len(b.urgent) == 0 {
		return never
	}
	return b.urgent[0].at
}

// readMail hands over what has come. It returns when the loop is to run for what
// is on its way.
func (p *peer) readMail() (due time.Duration) {
	p.mail.take(p.w.now, func(m mail) {
		if m.mine.up {
			if !datagram(m.msg) {
				_, _ = p.sendUp(quicAckBytes) // the next one says the same
			}
			p.policy.message(m.mine, m.c, m.msg)
		}
	})
	return p.mail.wakesAt()
}
