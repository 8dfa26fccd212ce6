package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"shoal/bench/emulator"
)

const (
	mbit = 1e6 / 8 // bytes per second

	// Bounds of what can be asked for. The emulator carries half a gigabit on a
	// desktop's core; a link that is slower than a modem shows nothing.
	rateMin, rateMax = 0.01 * mbit, 2000 * mbit
	delayMax         = 10 * time.Second
	bufferMax        = 256 << 20
	bdpMax           = 100
)

// parseRate reads "20mbit", "500kbit" or "1gbit": bits per second of IP packets.
func parseRate(s string) (bytesPerSec float64, err error) {
	n, err := scaled(s, []unit{{"gbit", 1000 * mbit}, {"mbit", mbit}, {"kbit", mbit / 1000}})
	if err != nil {
		return 0, fmt.Errorf("%w: a rate is a number with kbit, mbit or gbit, such as 20mbit", err)
	}
	if n < rateMin || n > rateMax {
		return 0, errors.New("a rate lies between 10kbit and 2gbit")
	}
	return n, nil
}

// parseSize reads "16kib", "1mib" or a number of bytes.
func parseSize(s string) (bytes int, err error) {
	n, err := scaled(s, []unit{{"mib", 1 << 20}, {"kib", 1 << 10}, {"b", 1}, {"", 1}})
	if err != nil {
		return 0, fmt.Errorf("%w: a size is a number of bytes, or one with kib or mib, such as 64kib", err)
	}
	if n < emulator.MTU || n > bufferMax {
		return 0, fmt.Errorf("a size lies between %d bytes, one packet, and 256mib", emulator.MTU)
	}
	return int(n), nil
}

// parseBuffer reads a size in bytes or in bandwidth-delay products; one of the
// results is zero.
func parseBuffer(s string) (bytes int, bdp float64, err error) {
	if number, ok := strings.CutSuffix(strings.ToLower(s), "bdp"); ok {
		bdp, err = strconv.ParseFloat(number, 64)
		if err != nil || !(bdp > 0 && bdp <= bdpMax) {
			return 0, 0, fmt.Errorf("a buffer is a size, or a number with bdp above 0 and up to %d, such as 1bdp", bdpMax)
		}
		return 0, bdp, nil
	}
	bytes, err = parseSize(s)
	return bytes, 0, err
}

// parseDuration reads a time that is not negative; a plain number counts seconds.
func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(n) < 1e6 {
		s = strconv.FormatFloat(n, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no time: write 5s or 40ms", s)
	}
	return d, nil
}

func parseDelay(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d > delayMax {
		err = fmt.Errorf("at most %v", delayMax)
	}
	return d, err
}

// parseRatio reads a share: 0.03.
func parseRatio(s string) (float64, error) {
	p, err := strconv.ParseFloat(s, 64)
	if err != nil || !(p >= 0 && p < 1) {
		return 0, fmt.Errorf("%q is no ratio: write a number from 0 to below 1, such as 0.03", s)
	}
	return p, nil
}

// parsePolicer reads "RATE:BUCKET".
func parsePolicer(s string) (p emulator.Policer, err error) {
	rate, bucket, ok := strings.Cut(s, ":")
	if !ok {
		return p, errors.New("a policer is RATE:BUCKET, such as 10mbit:16kib")
	}
	if p.BytesPerSec, err = parseRate(rate); err != nil {
		return p, err
	}
	p.Bucket, err = parseSize(bucket)
	return p, err
}

// parseBurst reads "RATIO:PACKETS": the share of packets lost in the long run,
// and how many are lost in a row on average.
func parseBurst(s string) (b emulator.Burst, err error) {
	ratio, packets, ok := strings.Cut(s, ":")
	if !ok {
		return b, errors.New("burst loss is RATIO:PACKETS, such as 0.02:10 for 2 % in bursts of 10 packets")
	}
	p, err := parseRatio(ratio)
	if err != nil {
		return b, err
	}
	length, err := strconv.ParseFloat(packets, 64)
	if err != nil || !(length >= 1 && length <= 1000) || p > 0.5 {
		return b, errors.New("a burst has 1 to 1000 packets, and at most half of all packets are lost in them")
	}
	// The share of time in the bad state is enter/(enter+leave).
	b.Leave, b.Loss = 1/length, 1
	b.Enter = b.Leave * p / (1 - p)
	return b, nil
}

type unit struct {
	suffix string
	factor float64
}

// scaled reads a number with one of the units.
func scaled(s string, units []unit) (float64, error) {
	lower := strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		number, ok := strings.CutSuffix(lower, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err == nil && n > 0 && !math.IsInf(n, 0) {
			return n * u.factor, nil
		}
	}
	return 0, fmt.Errorf("%q", s)
}
