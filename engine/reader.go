package engine

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"shoal/engine/origin"
	"shoal/engine/store"
	"shoal/engine/swarm"
	"shoal/internal/wire"
)

// OpenOptions says what a Reader reads, until when, and for whom.
type OpenOptions struct {
	// Offset is the first byte.
	Offset int64
	// Length is the number of bytes; 0 or less, or beyond the end: to the end.
	Length int64
	// Deadline is when the last byte must be readable at the latest: the
	// player's own patience. Zero: only the playhead bounds it.
	Deadline time.Time
	// Viewer is the viewing session that reads. Nil: a session of the title
	// itself, without a playhead.
	Viewer *Viewer
}

const (
	// readersMax bounds open reads: 32 viewers with 16 parallel requests each
	// are far more than a household has.
	readersMax = 512

	// checkAheadBytes is how much of a read is checked at Open when an earlier
	// run left it in the cache: a long segment, 20 ms of hashing.
	checkAheadBytes = 16 << 20

	// advanceBytes is how far a reader goes before the core hears of it: what
	// was read must not count as wanted any more, when the cache is smaller
	// than the file. Every such step makes the core work out its needs anew.
	advanceBytes = 1 << 20

	// readerStall is how long a read may wait for one piece when its deadline
	// has passed and nothing at all arrives.
	readerStall = time.Second

	// readerPatience is how long it may wait while something arrives: on a slow
	// line that several reads share, a piece takes seconds. hls.js gives up on a
	// first byte after 10 s.
	readerPatience = 8 * time.Second

	// wantShare of the cache is the most that one read asks for at once, for
	// the same reason.
	wantShare = 4
)

// Reader returns a range of a file in order, every byte as soon as its piece is
// verified. It is for one goroutine, except Close.
type Reader struct {
	// constant after Open
	file       *File
	viewer     *Viewer
	ctx        context.Context //nolint:containedctx // bounds the whole read, as documented at Open
	offset     int64
	end        int64
	deadline   time.Time
	deliveries chan delivery // one question at a time, so that the loop never waits
	closed     chan struct{}
	closeOnce  sync.Once

	// guarded by mu, held during Read
	mu      sync.Mutex
	pos     int64
	asked   bool
	current *store.Buffer // holds the file's bytes from currentStart to currentEnd
	start   int64
	limit   int64
	cached  bool

	// owned by the loop
	content *content
	want    swarm.WantID
	wanted  int64 // where the core believes the reader to be
	waiting swarm.Piece
	waits   bool
	since   time.Time // when the wait began
	gone    bool
	failure error
}

// delivery answers a Reader's question for one piece.
type delivery struct {
	buf    *store.Buffer // a reference for the Reader; nil: read it from the store
	cached bool          // held before the viewing session began
	err    error
}

var (
	_ io.ReadCloser = (*Reader)(nil)
	_ io.WriterTo   = (*Reader)(nil)
)

// Open starts a read. It does not wait for the first byte, except that pieces
// of an earlier run that the range begins with are checked first. ctx bounds
// the whole read, not only Open.
func (f *File) Open(ctx context.Context, o OpenOptions) (*Reader, error) {
	e := f.title.engine
	if o.Offset < 0 || o.Offset > f.record.Length || o.Offset == f.record.Length && f.record.Length > 0 {
		return nil, fmt.Errorf("%w: offset %d of %d bytes", ErrRange, o.Offset, f.record.Length)
	}
	end := f.record.Length
	if o.Length > 0 && o.Length < end-o.Offset {
		end = o.Offset + o.Length
	}
	viewer := o.Viewer
	if viewer == nil {
		viewer = f.title.anonymous()
	}
	if e.openReaders.Add(1) > readersMax {
		e.openReaders.Add(-1)
		return nil, ErrBusy
	}
	r := &Reader{
		file: f, viewer: viewer, ctx: ctx,
		offset: o.Offset, pos: o.Offset, end: end, deadline: o.Deadline,
		deliveries: make(chan delivery, 1), closed: make(chan struct{}),
	}
	f.title.recoverNow(ctx, f, o.Offset, min(end, o.Offset+checkAheadBytes))
	if !e.post(func(now time.Time) { e.loop.openReader(now, r) }) {
		e.openReaders.Add(-1)
		return nil, ErrClosed
	}
	return r, nil
}

// Read waits for the next verified bytes. Errors other than io.EOF are
// *OriginError, the context's, or ErrClosed.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pos >= r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest())
	r.advance(n)
	return n, nil
}

// WriteTo writes what is still to be read, each piece from where it lies: what
// io.Copy does by itself, without a copy. A failed write loses what it was given.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	for written := int64(0); ; {
		b, release, err := r.next()
		if err != nil {
			return written, err
		}
		if len(b) == 0 {
			return written, nil
		}
		n, err := w.Write(b)
		release()
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// next waits for a piece and goes past it; it is empty at the end.
func (r *Reader) next() (b []byte, release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pos >= r.end {
		return nil, nil, nil
	}
	if err := r.fill(); err != nil {
		return nil, nil, err
	}
	b = r.rest()
	// Not under mu, which Close needs: the writer may be slow.
	release = r.current.Retain().Release
	r.advance(len(b))
	return b, release, nil
}

// rest is what is unread of the current piece. The caller holds mu.
func (r *Reader) rest() []byte { return r.current.Bytes()[r.pos-r.start : r.limit-r.start] }

// advance goes on by n bytes of the current piece. The caller holds mu.
func (r *Reader) advance(n int) {
	r.pos += int64(n)
	r.viewer.played(n, r.cached)
	if r.pos == r.limit {
		r.drop()
	}
}

// Wait waits until the next Read has bytes at once, or fails. A caller that must
// choose a status code before it writes uses it.
func (r *Reader) Wait() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pos >= r.end {
		return nil
	}
	return r.fill()
}

// Close abandons what was not read yet.
func (r *Reader) Close() error {
	r.closeOnce.Do(func() {
		close(r.closed) // ends a Read under way, which gives mu back
		e := r.file.title.engine
		e.openReaders.Add(-1)
		_ = e.post(func(now time.Time) { e.loop.closeReader(now, r) })
		r.mu.Lock()
		r.drop()
		r.mu.Unlock()
	})
	return nil
}

// fill makes the piece at pos current. The caller holds mu.
func (r *Reader) fill() error {
	for r.current == nil {
		select {
		case <-r.closed:
			return ErrClosed
		default:
		}
		piece := pieceOf(r.pos)
		d, err := r.ask(piece)
		if err != nil {
			return err
		}
		if d.buf == nil {
			d.buf = r.load(piece)
		}
		if d.buf == nil {
			continue // lost since the loop looked: ask again, and wait for the download
		}
		r.current, r.cached = d.buf, d.cached
		r.start = int64(piece) * wire.PieceBytes
		r.limit = min(r.end, r.start+wire.PieceBytes)
	}
	return nil
}

// ask asks the loop for a piece and waits for it.
func (r *Reader) ask(piece uint32) (delivery, error) {
	e := r.file.title.engine
	if !r.asked {
		if !e.post(func(now time.Time) { e.loop.deliver(now, r, piece) }) {
			return delivery{}, ErrClosed
		}
		r.asked = true // and stays so when the context ends: the answer may still come
	}
	select {
	case d := <-r.deliveries:
		r.asked = false
		return d, d.err
	case <-r.ctx.Done():
		return delivery{}, r.ctx.Err()
	case <-r.closed:
		return delivery{}, ErrClosed
	case <-e.loopDone:
		return delivery{}, ErrClosed
	}
}

// load reads a piece from the store, on the reader's goroutine. Nil: the store
// has lost it.
func (r *Reader) load(piece uint32) *store.Buffer {
	e := r.file.title.engine
	buf, err := e.getPiece(r.file.record.Root, r.file.record.Length, piece)
	if err == nil {
		return buf
	}
	root := r.file.record.Root
	e.post(func(now time.Time) { e.loop.lost(now, root, piece) })
	return nil
}

func (r *Reader) drop() {
	if r.current != nil {
		r.current.Release()
		r.current = nil
	}
}

// openReader registers a read and tells the core what it wants.
func (l *loop) openReader(now time.Time, r *Reader) {
	r.content = r.file.content
	r.content.addFile(r.file)
	l.viewerReads(now, r)
	l.lastWant++
	r.want = l.lastWant
	l.readers[r.want] = r
	l.want(now, r, r.offset)
}

// want tells the core what is still to be read.
func (l *loop) want(now time.Time, r *Reader, from int64) {
	r.wanted = from
	window := max(l.e.cfg.CacheBytes/wantShare, 2*advanceBytes)
	l.core.Want(now, swarm.Want{
		ID: r.want, Viewer: r.viewer.handle, File: r.content.handle,
		Offset: from, Length: min(r.end-from, window), Deadline: r.deadline,
	})
}

// question is a Reader's question for a piece.
type question struct {
	reader *Reader
	piece  uint32
}

// deliver answers a Reader's question now or when the piece is verified.
func (l *loop) deliver(now time.Time, r *Reader, piece uint32) {
	if r.gone {
		return
	}
	if l.putting >= puttingMax {
		l.heldBack = append(l.heldBack, question{r, piece})
		return
	}
	from := int64(piece) * wire.PieceBytes
	if from-r.wanted >= advanceBytes {
		l.want(now, r, from)
	}
	pc := swarm.Piece{File: r.content.handle, Index: piece}
	if e := l.residents.get(now, pc); e != nil {
		r.deliveries <- delivery{buf: e.buf.Retain(), cached: l.wasHeld(r, piece)}
		return
	}
	if r.content.has(piece) {
		r.deliveries <- delivery{cached: l.wasHeld(r, piece)}
		return
	}
	if r.failure != nil {
		r.deliveries <- delivery{err: r.failure}
		return
	}
	r.waiting, r.waits, r.since = pc, true, now
	l.waiting[pc] = append(l.waiting[pc], r)
}

// wasHeld tells whether the piece was there before the reader's viewing
// session began: in an earlier run (0) or in an earlier viewing.
func (l *loop) wasHeld(r *Reader, piece uint32) bool {
	return r.content.has(piece) && r.content.obtained[piece] < r.viewer.began
}

// wake hands a piece that was just verified to those who wait for it.
func (l *loop) wake(pc swarm.Piece, buf *store.Buffer) {
	for _, r := range l.waiting[pc] {
		r.waits = false
		r.deliveries <- delivery{buf: buf.Retain()}
	}
	delete(l.waiting, pc)
}

// failReader ends a read that nobody can satisfy.
func (l *loop) failReader(r *Reader, err error) {
	r.failure = err
	if !r.waits {
		return // it may still read what is there
	}
	l.unwait(r)
	r.deliveries <- delivery{err: err}
}

// expireReaders fails the reads whose player has lost its patience while no
// byte came. One that still makes progress goes on: the player knows better.
func (l *loop) expireReaders(now time.Time) {
	patience := readerStall
	if now.Sub(l.e.line.all.Last()) < readerStall {
		patience = readerPatience
	}
	for _, r := range l.readers {
		if !r.waits || r.deadline.IsZero() || now.Before(r.deadline) || now.Sub(r.since) < patience {
			continue
		}
		err := r.content.failure
		if err == nil {
			err = origin.ErrDeadline
		}
		l.failReader(r, originError(err))
	}
}

func (l *loop) closeReader(now time.Time, r *Reader) {
	if r.gone || r.want == 0 {
		return
	}
	r.gone = true
	l.unwait(r)
	delete(l.readers, r.want)
	l.core.Cancel(now, r.want)
}

func (l *loop) unwait(r *Reader) {
	if !r.waits {
		return
	}
	r.waits = false
	list := l.waiting[r.waiting]
	for i, other := range list {
		if other == r {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(l.waiting, r.waiting)
	} else {
		l.waiting[r.waiting] = list
	}
}
