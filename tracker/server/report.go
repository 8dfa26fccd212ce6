package server

import (
	"errors"
	"time"

	"shoal/engine/transport"
	"shoal/tracker"
)

// report takes a peer's totals. There is no answer, whatever they say: what is
// not taken is counted.
func (s *Server) report(now time.Time, session *transport.Session) {
	err := s.state.Report(now, session.ID(), &s.reported)
	if err == nil {
		return
	}
	reason := "report_unknown"
	switch {
	case errors.Is(err, tracker.ErrReportLate):
		reason = "report_late"
	case errors.Is(err, tracker.ErrReportTooOften):
		reason = "report_too_often"
	case errors.Is(err, tracker.ErrReportImplausible):
		reason = "report_implausible"
	}
	s.metrics.dropped.WithLabelValues(reason).Inc()
}
