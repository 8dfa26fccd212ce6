package main

// Priorities among the processes that are served before all ordinary ones.
const (
	endPriority = 1
	// linkPriority is that of the emulator's loop, for all of its process: the loop's
	// thread waits for the garbage collector's by yielding to it, which does nothing
	// for one of lower priority. Two such loops held both processors of a machine for
	// ever, and everything else with them.
	linkPriority = 2
)
