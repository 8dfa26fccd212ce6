"""Downloads a torrent from its web seeds with libtorrent, an implementation that shares no code with ours.

usage: libtorrent_download.py TORRENT SAVE_DIR SECONDS

Prints the v2 infohash on its first line and "complete" on its last.
"""
import sys
import time

import libtorrent as lt

torrent, save, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
info = lt.torrent_info(torrent)
hashes = info.info_hashes()
assert hashes.has_v2() and not hashes.has_v1(), "not a v2-only torrent"
print(hashes.v2, flush=True)

session = lt.session({
    "listen_interfaces": "127.0.0.1:0",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "alert_mask": lt.alert.category_t.error_notification,
})
handle = session.add_torrent({"ti": info, "save_path": save})
deadline = time.monotonic() + seconds
while not handle.status().is_seeding:
    for alert in session.pop_alerts():
        print(alert.message(), file=sys.stderr)
    status = handle.status()
    if time.monotonic() > deadline:
        sys.exit("only %d of %d bytes after %g s, in state %s" % (
            status.total_done, status.total_wanted, seconds, status.state))
    time.sleep(0.05)
print("complete", flush=True)
