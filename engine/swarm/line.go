package swarm

// Awaiting reports whether peers owe chunks that they were asked for. Only then
// does the rate at which they come say something about the line.
func (c *Core) Awaiting() bool { return c.sched.Outstanding() }
