// Package rig makes web players choose renditions: hls.js and dash.js in a
// headless Chromium, playing a ladder of renditions over an emulated line,
// straight from the origin or through a node. It measures what they chose.
//
// The command bench/abr prints the result and the test in e2e/abr judges it;
// nobody else imports it. A Lab may run several scenarios at once.
package rig
