package trace

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// Limits of what a cell may say. They are far beyond anything that is measured,
// and keep sums of them inside an int64.
const (
	secondsMax      = 9_000_000_000 // start_s: Unix time until the year 2255; a time.Duration ends at 9.2e9 s
	watchSecondsMax = 366 * 86400   // watch_s, title_s, position_s, linger_s: a year
	kbpsMax         = 100_000_000   // 100 Gbit/s
	rttMillisMax    = 60_000
	cacheMBMax      = 100_000_000 // 100 TB
)

var (
	errNotNumber = errors.New("not a number")
	errRange     = errors.New("out of range")
)

// parseScaled reads a decimal number times unit, exactly where the result is a
// whole number of nanoseconds: files that are written and read again do not
// drift. Exponents are taken as floating-point numbers.
func parseScaled(cell []byte, unit time.Duration, most int64) (time.Duration, error) {
	var whole, fraction int64
	digits, scale, point := 0, int64(unit), false
	for _, c := range cell {
		switch {
		case c == '.' && !point:
			point = true
		case c < '0' || c > '9':
			return parseFloatScaled(cell, unit, most)
		case !point:
			if whole = whole*10 + int64(c-'0'); whole > most {
				return 0, errRange
			}
			digits++
		default:
			digits++
			if scale%10 == 0 { // digits below a nanosecond are dropped
				scale /= 10
				fraction += int64(c-'0') * scale
			}
		}
	}
	if digits == 0 {
		return 0, errNotNumber
	}
	d := time.Duration(whole)*unit + time.Duration(fraction)
	if d > time.Duration(most)*unit {
		return 0, errRange
	}
	return d, nil
}

func parseFloatScaled(cell []byte, unit time.Duration, most int64) (time.Duration, error) {
	v, err := ParseFloat(cell)
	if err != nil {
		return 0, err
	}
	if v < 0 || v > float64(most) {
		return 0, errRange
	}
	return time.Duration(math.Round(v * float64(unit))), nil
}

// ParseFloat reads a number in decimal notation. NaN and infinities are none.
func ParseFloat(cell []byte) (float64, error) {
	for _, c := range cell {
		// strconv also takes hexadecimal, underscores, and names.
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, errNotNumber
		}
	}
	v, err := strconv.ParseFloat(string(cell), 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errRange
	}
	if err != nil {
		return 0, errNotNumber
	}
	return v, nil
}

// parseCount reads a number of something, rounded to a whole one: public traces
// have rates with fractions.
func parseCount(cell []byte, least, most int64) (int, error) {
	v, err := ParseFloat(cell)
	if err != nil {
		return 0, err
	}
	v = math.Round(v)
	if v < float64(least) || v > float64(most) {
		return 0, errRange
	}
	return int(v), nil
}

// appendScaled appends d in units, as short as it is exact.
func appendScaled(b []byte, d, unit time.Duration) []byte {
	b = strconv.AppendInt(b, int64(d/unit), 10)
	rest := d % unit
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for rest > 0 {
		unit /= 10
		b = append(b, byte('0'+rest/unit))
		rest %= unit
	}
	return b
}
