package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"shoal/engine/manifest"
)

// story tells a player's requests in seconds and asks what the pattern makes of
// them.
type story struct {
	t     *testing.T
	start time.Time
	now   time.Time
	p     pattern
}

func newStory(t *testing.T) *story {
	start := time.Date(2026, 1, 1, 20, 15, 0, 0, time.UTC)
	return &story{t: t, start: start, now: start, p: newPattern()}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (s *story) at(t float64) *story {
	s.now = s.start.Add(seconds(t))
	return s
}

// asks is a GET of a whole segment; it stays open until done.
func (s *story) asks(kind manifest.Kind, from, to float64) *story {
	s.p.request(s.now, span{kind, seconds(from), seconds(to)}, false, newCMCD())
	return s
}

// tells is asks with CMCD.
func (s *story) tells(kind manifest.Kind, from, to float64, words string) *story {
	s.p.request(s.now, span{kind, seconds(from), seconds(to)}, false, cmcdOf(s.t, words))
	return s
}

func (s *story) done(kind manifest.Kind, to float64) *story {
	s.p.delivered(s.now, kind, seconds(to))
	s.p.finished(s.now)
	return s
}

// gets is a segment that is answered within 0.1 s.
func (s *story) gets(t float64, kind manifest.Kind, from, to float64) *story {
	return s.at(t).asks(kind, from, to).at(t+0.1).done(kind, to)
}

func (s *story) reads(from float64) *story {
	s.p.request(s.now, span{manifest.KindMuxed, seconds(from), seconds(7200)}, true, newCMCD())
	return s
}

func (s *story) taken(to float64) *story {
	s.p.delivered(s.now, manifest.KindMuxed, seconds(to))
	return s
}

func (s *story) expect(position, buffer, rate float64) *story {
	s.t.Helper()
	e := s.p.estimate(s.now)
	at := s.now.Sub(s.start)
	require.InDelta(s.t, position, e.Position.Seconds(), 0.15, "position at %v", at)
	require.InDelta(s.t, buffer, e.Buffer.Seconds(), 0.15, "buffer at %v", at)
	require.Equal(s.t, rate, e.Rate, "rate at %v", at)
	return s
}

const (
	video = manifest.KindVideo
	audio = manifest.KindAudio
	muxed = manifest.KindMuxed
)

// hls.js: the buffer is filled back to back, then one segment per segment
// duration when less than 30 s are held.
func TestHLSJSFillsThenTopsUp(t *testing.T) {
	s := newStory(t)
	s.at(0).asks(muxed, 0, 6).expect(0, 0, 1)
	s.at(1).expect(0, 0, 1) // no picture yet: the playhead waits
	s.done(muxed, 6).expect(0, 6, 1)
	for i := 1.0; i < 6; i++ {
		s.gets(1+i*0.2, muxed, 6*i, 6*i+6)
	}
	s.at(3).expect(2, 34, 1)
	s.at(7).expect(6, 30, 1)
	s.gets(7.05, muxed, 36, 42) // below 30 s: the low water is learned
	s.gets(13.05, muxed, 42, 48).at(14).expect(13, 35, 1)
}

// A user presses pause while the buffer is full, comes back after five minutes,
// and later skips ahead inside the buffer.
func TestPauseAndSkipAreSeenAtTheNextRequest(t *testing.T) {
	s := newStory(t)
	for i := 0.0; i < 5; i++ {
		s.gets(i*0.2, muxed, 6*i, 6*i+6)
	}
	s.at(6.1).asks(muxed, 30, 36).at(6.2).done(muxed, 36) // low water 24 s
	s.at(12.1).expect(12, 24, 1)                          // no request: it was paused somewhere before
	s.at(18).expect(17, 19, 0)                            // expected at 12, half a segment and 2 s of slack
	s.at(300).expect(17, 19, 0)
	s.at(320).asks(muxed, 36, 42).expect(12, 24, 1) // back: the buffer stands at its low water
	s.at(320.1).done(muxed, 42).at(326).expect(18, 24, 1)
	s.gets(326.05, muxed, 42, 48)
	// Skips 10 s ahead inside the buffer: the next two requests come at once.
	s.gets(328, muxed, 48, 54).at(328).expect(24, 30, 1)
}

// Separate audio: the nearest frontier counts, and either track may ask first.
func TestAudioAndVideoShareOnePlayhead(t *testing.T) {
	s := newStory(t)
	s.at(0).asks(video, 0, 6).at(0.05).asks(audio, 0, 5.9)
	s.at(0.3).done(audio, 5.9).expect(0, 0, 1) // no video yet
	s.at(0.5).done(video, 6).expect(0, 5.9, 1)
	s.at(0.6).asks(audio, 5.9, 12).at(0.7).done(audio, 12).expect(0.2, 5.8, 1)
	s.at(0.8).asks(video, 6, 12).at(1.5).done(video, 12).expect(1, 11, 1)
}

// ABR: the player repeats its newest segment in the other rendition; that is
// neither a seek nor new media.
func TestRenditionSwitchKeepsThePlayhead(t *testing.T) {
	s := newStory(t)
	for i := 0.0; i < 4; i++ {
		s.gets(i*0.3, video, 6*i, 6*i+6)
	}
	s.at(5).asks(video, 18, 24).expect(4.9, 19.1, 1).at(5.5).done(video, 24).expect(5.4, 18.6, 1)
}

func TestSeeksStartOver(t *testing.T) {
	s := newStory(t)
	for i := 0.0; i < 5; i++ {
		s.gets(i*0.3, video, 6*i, 6*i+6)
	}
	s.at(8).asks(video, 3600, 3606).expect(3600, 0, 1) // forward
	s.at(9).done(video, 3606).expect(3600, 6, 1).at(11).expect(3602, 4, 1)
	s.at(12).asks(video, 600, 606).expect(600, 0, 1) // back
	s.asks(audio, 599, 605).at(12.5).done(audio, 605).done(video, 606).expect(600, 5, 1)
	s.at(14).asks(video, 588, 594).expect(588, 0, 1) // a little back: what was played
}

func TestStallIsWaitingWithAnOpenRequest(t *testing.T) {
	s := newStory(t)
	s.gets(0, muxed, 0, 4)
	s.at(0.2).asks(muxed, 4, 8)
	s.at(4).expect(3.9, 0.1, 1)
	s.at(7).expect(4, 0, 1) // ran dry at 4.1
	s.done(muxed, 8).expect(4, 4, 1).at(9).expect(6, 2, 1)
}

// VLC reads a segment when it has nearly consumed the one before: a wait of a
// segment's length is its low water, not a pause.
func TestVLCWithAShallowBufferIsNotTakenForPaused(t *testing.T) {
	s := newStory(t)
	s.gets(0, muxed, 0, 10)
	s.gets(0.2, muxed, 10, 20)
	s.at(9).expect(8.9, 11.1, 1)
	s.gets(9.1, muxed, 20, 30).at(15).expect(14.9, 15.1, 1) // low water 11 s
	s.gets(19.1, muxed, 30, 40).at(25).expect(24.9, 15.1, 1)
	s.gets(29.1, muxed, 40, 50).at(30).expect(29.9, 20.1, 1)
}

// mpv opens both renditions' first segments to probe them, then reads one.
func TestMPVProbesRenditions(t *testing.T) {
	s := newStory(t)
	s.gets(0, muxed, 0, 6)
	s.gets(0.2, muxed, 0, 6).expect(0.2, 5.8, 1)
	for i := 1.0; i < 10; i++ {
		s.gets(0.2+i/5, muxed, 6*i, 6*i+6)
	}
	s.at(10).expect(9.9, 50.1, 1)
}

// <video src=film.mp4>: one open read, taken in bursts as its buffer empties.
func TestProgressiveReadFollowsWhatIsTaken(t *testing.T) {
	s := newStory(t)
	s.at(0).reads(0).expect(0, 0, 1)
	s.at(0.5).taken(2).expect(0, 2, 1)
	s.at(1.5).taken(20).expect(1, 19, 1)
	s.at(8).expect(7.5, 12.5, 1)
	s.taken(28) // a burst: it plays on
	s.at(14).taken(34).expect(13.5, 20.5, 1)
	s.at(40).expect(23.5, 10.5, 0) // nothing taken for 10 s: paused
	s.taken(36).expect(23.5, 12.5, 1)
}

func TestWordsOfThePlayerOverrideGuesses(t *testing.T) {
	s := newStory(t)
	s.at(0).tells(muxed, 1200, 1206, `bl=0,ot=av,su`).expect(1200, 0, 1)
	s.at(0.5).done(muxed, 1206).expect(1200, 6, 1)
	// It began to play later than we thought: it has 5.8 s, not 5.
	s.at(1.5).tells(muxed, 1206, 1212, `bl=5800,ot=av`).expect(1200.2, 5.8, 1)
	s.at(2).done(muxed, 1212).expect(1200.7, 11.3, 1)
	// It replaces the end of its buffer: bl is counted from the buffer's end.
	s.at(3).tells(muxed, 1206, 1212, `bl=10000,ot=av`).expect(1202, 10, 1)
	s.done(muxed, 1212)
	// Double speed.
	s.at(4).tells(muxed, 1212, 1218, `bl=9000,ot=av,pr=2`).at(5).expect(1205, 7, 2)
	// The playhead never precedes the title.
	s.at(6).tells(muxed, 0, 6, `bl=30000,ot=av,pr=1`)
	require.Zero(t, s.p.estimate(s.now).Position)
}

func TestSubtitlesAndImagesDoNotMoveThePlayhead(t *testing.T) {
	s := newStory(t)
	s.gets(0, muxed, 0, 6)
	s.gets(0.5, manifest.KindText, 0, 7200)
	s.gets(0.6, manifest.KindImage, 3000, 3006)
	s.at(2).expect(1.9, 4.1, 1)
}

// A player with any buffer, segment length, line and habit of pausing and
// seeking: at its requests, the playhead that the pattern sees is never far
// behind the true one (that would be a buffer that does not exist), nor further
// ahead than the model may guess.
func TestGuessedPlayheadStaysNearTheTrueOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := float64(rapid.IntRange(2, 10).Draw(t, "segment"))
		full := float64(rapid.IntRange(8, 60).Draw(t, "full buffer"))
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		p := newPattern()
		now, position, end := 0.0, 0.0, 0.0 // the truth
		stillUntil := 0.0                   // paused; a paused player goes on filling its buffer
		pass := func(d float64, playing bool) {
			now += d
			if playing {
				position = min(position+min(d, max(now-stillUntil, 0)), end)
			}
		}
		at := func() time.Time { return start.Add(seconds(now)) }
		paused := false
		for range rapid.IntRange(5, 60).Draw(t, "segments") {
			switch rapid.IntRange(0, 12).Draw(t, "whim") {
			case 0:
				stillUntil = now + float64(rapid.IntRange(1, 400).Draw(t, "pause"))
				paused = true
			case 1:
				to := float64(rapid.IntRange(0, 500).Draw(t, "seek")) * segment
				if to < position-2*segment || to > end+2*segment {
					position, end = to, to
				}
			default:
			}
			if surplus := end - position - full; surplus > 0 { // waits until there is room
				pass(max(stillUntil-now, 0), true)
				pass(surplus, true)
			}
			p.request(at(), span{muxed, seconds(end), seconds(end + segment)}, false, newCMCD())
			guess := p.estimate(at()).Position.Seconds()
			if guess < position-segment-3 {
				t.Fatalf("at %.1f: guessed %.1f, but it is at %.1f", now, guess, position)
			}
			if !paused && guess > position+segment+3 {
				t.Fatalf("at %.1f: guessed %.1f, and it is at %.1f only", now, guess, position)
			}
			if guess > end+0.1 {
				t.Fatalf("at %.1f: guessed %.1f beyond all that was delivered (%.1f)", now, guess, end)
			}
			first := end == position
			pass(rapid.Float64Range(0.05, 1.2).Draw(t, "download")*segment, !first)
			end += segment
			p.delivered(at(), muxed, seconds(end))
			p.finished(at())
		}
	})
}
