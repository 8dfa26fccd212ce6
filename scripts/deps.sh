#!/usr/bin/env bash
# Installs with apt what the tests need and the machine lacks. Where it cannot, it says what is missing and leaves the
# failing to the tests that need it.
set -euo pipefail

# Debian's libtorrent belongs to the system's own Python, which need not be the first one on the PATH.
has_libtorrent() { [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import libtorrent' 2>/dev/null; }

# The tests take whichever there is.
has_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null

missing=()
for pair in cc:gcc ffmpeg:ffmpeg ffprobe:ffmpeg mpv:mpv nginx:nginx openssl:openssl curl:curl prometheus:prometheus promtool:prometheus; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
has_libtorrent || missing+=(python3-libtorrent)
has_browser || missing+=(chromium fonts-dejavu-core) # without a font its pages have no letters

# Only said: which Node.js a machine has is its owner's choice.
for program in node npm; do
  command -v "$program" >/dev/null || echo "missing: $program; install Node.js, or the tests that need it will fail" >&2
done

if [ ${#missing[@]} = 0 ]; then exit 0; fi

echo "missing for the tests: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "no apt-get here: install them by hand, or the tests that need them will fail" >&2
  exit 0
fi
root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "neither root nor sudo: install them by hand, or the tests that need them will fail" >&2
    exit 0
  fi
  root=(sudo)
fi
[[ " ${missing[*]} " != *" gcc "* ]] || missing+=(libc6-dev)
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
  echo "apt-get could not install everything; the tests that need it will fail" >&2
