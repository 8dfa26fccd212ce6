package engine

import (
	"math"
	"time"
)

// maxUserActive bounds how long one report that the line is needed counts: who
// forgets to take it back must not end a node's uploads for good.
const maxUserActive = time.Hour

// UserActive tells that somebody needs the uplink for that long, at most an hour:
// a call, a game. Uploads leave the line to them. 0 takes it back.
func (e *Engine) UserActive(d time.Duration) {
	e.post(func(now time.Time) {
		if e.uploads != nil {
			e.uploads.UserActive(now, now.Add(min(max(d, 0), maxUserActive)))
		}
	})
}

func (l *loop) uploadStatus(now time.Time, st *UploadStatus) {
	g := l.e.uploads
	if g == nil || !st.On {
		return
	}
	if limit := g.LimitBytesPerSec(now); !math.IsInf(limit, 1) {
		st.LimitBytesPerSec = max(int64(limit), 1)
	}
	st.CarriedBytesPerSec = int64(g.CarriedBytesPerSec())
}
