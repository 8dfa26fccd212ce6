#!/usr/bin/env bash
# Fuzzes every Fuzz function for FUZZTIME. One instrumented binary per package: go test -fuzz would link again for each
# function. What breaks a decoder is kept under the package's testdata/fuzz, as go test keeps it.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-2000x}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

count=0
for dir in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r dirname | sort -u); do
  go test -c -fuzz=. -o "$work/fuzz.test" "$dir"
  for target in $("$work/fuzz.test" -test.list '^Fuzz'); do
    echo "$dir $target"
    (cd "$dir" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$fuzztime" \
      -test.fuzzminimizetime 2s -test.fuzzcachedir "$work/corpus" -test.timeout 5m) >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    count=$((count + 1))
  done
done
[ "$count" -gt 0 ] || { echo "fuzz.sh: found no Fuzz function" >&2; exit 1; }
echo "$count decoders held for $fuzztime each"
