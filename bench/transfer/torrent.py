#!/usr/bin/python3
"""One side of a transfer by libtorrent. See process.go for what it says when.

torrent.py seed|leech tcp|utp TORRENT DIR ADDRESS [PEER]
"""

import sys
import time

import libtorrent as lt


def say(*words):
    print(*words, flush=True)


def main():
    role, protocol, torrent, directory, address = sys.argv[1:6]
    tcp = protocol == "tcp"
    look_every_s = 0.01 if tcp else 0.1  # many leeches share a machine
    # Otherwise as libtorrent has it by default, except that nobody is choked.
    session = lt.session({
        "listen_interfaces": address + ":0",
        "enable_outgoing_tcp": tcp, "enable_incoming_tcp": tcp,
        "enable_outgoing_utp": not tcp, "enable_incoming_utp": not tcp,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "unchoke_slots_limit": -1, "allow_multiple_connections_per_ip": True,
        "alert_mask": 0,
    })
    handle = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": directory})
    if role == "seed":
        while not handle.status().is_seeding:
            time.sleep(look_every_s)
        say("ready", "%s:%d" % (address, session.listen_port()))
        for _ in sys.stdin:
            say("served", handle.status().total_payload_upload)
        return
    while handle.status().state not in (lt.torrent_status.downloading, lt.torrent_status.finished):
        time.sleep(look_every_s)
    say("ready")
    sys.stdin.readline()
    host, port = sys.argv[6].rsplit(":", 1)
    handle.connect_peer((host, int(port)))
    while not handle.status().is_seeding:
        time.sleep(look_every_s)
    say("done", handle.status().total_payload_download)
    sys.stdin.read()


main()
