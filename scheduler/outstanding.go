package scheduler

// Outstanding reports whether any seed owes chunks that it was asked for.
func (s *Scheduler) Outstanding() bool { return !s.owing.Empty() }
