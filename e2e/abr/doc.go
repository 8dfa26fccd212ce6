// Package abr tests, behind the build tag e2e, that web players choose through a
// node what they choose without one: hls.js and dash.js in a headless Chromium,
// with the rig of bench/abr.
package abr
