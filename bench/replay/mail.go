package replay

import "time"

// mail is a message that waits for its reader.
type mail struct {
	mine   *end // the reader's
	c      *conn
	msg    any
	at     time.Duration // when it comes
	urgent bool          // it wakes its reader
}

// mailbox holds what is on its way to a node, in the order in which it was sent. It
// is a list that is looked through: what comes within a round trip or the reader's
// rest are a few messages, next to each other in memory.
type mailbox struct{ waiting []mail }

// put adds a message.
func (b *mailbox) put(m mail) { b.waiting = append(b.waiting, m) }

// take appends what has come by now to due, in the order in which it was sent. It
// returns when the next urgent message comes.
func (b *mailbox) take(now time.Duration, due []mail) (_ []mail, wakesAt time.Duration) {
	wakesAt = never
	kept := b.waiting[:0]
	for _, m := range b.waiting {
		if m.at <= now {
			due = append(due, m)
			continue
		}
		kept = append(kept, m)
		if m.urgent {
			wakesAt = min(wakesAt, m.at)
		}
	}
	clear(b.waiting[len(kept):])
	b.waiting = kept
	return due, wakesAt
}

// readMail hands over what has come. It returns when the loop is to run for what
// is on its way.
func (p *peer) readMail() (due time.Duration) {
	w := p.w
	w.letters, due = p.mail.take(w.now, w.letters[:0])
	for _, m := range w.letters {
		if m.mine.up {
			if !datagram(m.msg) {
				_, _ = p.sendUp(quicAckBytes) // the next one says the same
			}
			p.policy.message(m.mine, m.c, m.msg)
		}
	}
	clear(w.letters)
	return due
}
