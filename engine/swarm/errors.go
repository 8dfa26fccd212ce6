package swarm

// ErrOriginMismatch ends reads of a file whose copy at the CDN is not what the
// manifest describes. The shell tells it from a CDN that fails: the player may
// still have the CDN's copy as it is.
var ErrOriginMismatch = errOriginMismatch
