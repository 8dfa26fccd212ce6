package plot

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLabelsAreShortNumbers(t *testing.T) {
	for want, v := range map[string]float64{"20000": 20000, "0.6": 0.1 + 0.2 + 0.3, "0.002": 0.002, "1235000": 1234567, "-5": -5, "0": 0} {
		require.Equal(t, want, label(v))
	}
}
