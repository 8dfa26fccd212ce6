#!/usr/bin/python3
"""One viewer of a torrent that is also on a web server, by libtorrent.

torrent.py make FILE OUT    writes the metainfo of a file
torrent.py watch CONFIG     watches, and reports as JSON lines until it is ended

CONFIG is a JSON object; see torrentConfig in torrent.go, which writes it.

The player takes whole segments, as the replay's does: it starts with the first
that leaves start_buffer_s ahead, and stalls when the next one is not there.

The web server is a web seed (BEP 19), which libtorrent uses all the time, for
ranges of up to 16 MiB; or, with web_seed_below_s, it is asked by this client, a
few pieces at a time and only while so little is buffered.
"""

import collections
import http.client
import json
import sys
import tempfile
import threading
import time
import urllib.parse

import libtorrent as lt

PIECE_BYTES = 64 << 10  # the replay's
BLOCK_BYTES = 16 << 10  # BEP 3's
NOWHERE = "0.0.0.0"
VISIBLE_STALL_S = 0.08  # as in the replay
LOOK_EVERY_S = 0.02
STEER_EVERY_S = 0.1
REPORT_EVERY_S = 0.25


def make(file, out):
    storage = lt.file_storage()
    lt.add_files(storage, file)
    torrent = lt.create_torrent(storage, PIECE_BYTES, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, file.rsplit("/", 1)[0])
    with open(out, "wb") as f:
        f.write(lt.bencode(torrent.generate()))


class Title:
    """Segments as ranges of the one file that the torrent has."""

    def __init__(self, segments, segment_s):
        self.names = [s["name"] for s in segments]
        self.sizes = [s["bytes"] for s in segments]
        self.ends = []
        for size in self.sizes:
            self.ends.append(size + (self.ends[-1] if self.ends else 0))
        self.segment_s = segment_s
        self.length_s = segment_s * len(segments)

    def byte_at(self, position_s):
        i = int(position_s / self.segment_s)
        if i >= len(self.sizes):
            return self.ends[-1]
        within = position_s / self.segment_s - i
        return int(self.ends[i] - self.sizes[i] * (1 - within))

    def first_piece(self, i):
        return (self.ends[i] - self.sizes[i]) // PIECE_BYTES

    def last_piece(self, i):
        return (self.ends[i] - 1) // PIECE_BYTES


class Player:
    def __init__(self, title, start_buffer_s):
        self.title, self.start_buffer_s = title, start_buffer_s
        self.begun = self.at = time.monotonic()
        self.appended = 0  # segments
        self.position = 0.0
        self.startup_s = -1.0
        self.playing = False
        self.stalled_since = None
        self.stalls, self.stalled_s = 0, 0.0

    def buffer(self):
        return self.appended * self.title.segment_s - self.position

    def advance(self, pieces):
        now = time.monotonic()
        if self.playing:
            edge = self.appended * self.title.segment_s
            self.position = min(self.position + now - self.at, edge)
            if self.position >= edge:
                self.playing, self.stalled_since = False, now
        self.at = now
        t = self.title
        while self.appended < len(t.sizes) and all(
            pieces[t.first_piece(self.appended) : t.last_piece(self.appended) + 1]
        ):
            self.appended += 1
        if self.playing or self.buffer() < self.start_buffer_s:
            return
        if self.startup_s < 0:
            self.startup_s = now - self.begun
        elif self.stalled_since and now - self.stalled_since >= VISIBLE_STALL_S:
            self.stalls += 1
            self.stalled_s += now - self.stalled_since
        self.playing, self.stalled_since = True, None

    def report(self):
        stalls, stalled = self.stalls, self.stalled_s
        if self.stalled_since and self.at - self.stalled_since >= VISIBLE_STALL_S:
            stalls, stalled = stalls + 1, stalled + self.at - self.stalled_since
        return {
            "startup_ms": self.startup_s * 1000 if self.startup_s >= 0 else -1,
            "position_s": self.position,
            "stalls": stalls,
            "stalled_s": stalled,
        }


class WebServer:
    """Fetches pieces, one range at a time, on a thread of its own."""

    def __init__(self, url, size):
        self.url, self.size = urllib.parse.urlsplit(url), size
        self.connection = None
        self.arrived = collections.deque()  # (piece, bytes)
        self.thread = None

    def busy(self):
        return bool(self.arrived) or self.thread is not None and self.thread.is_alive()

    def fetch(self, first, end):
        self.thread = threading.Thread(target=self._fetch, args=(first, end), daemon=True)
        self.thread.start()

    def _fetch(self, first, end):
        last = min(end * PIECE_BYTES, self.size) - 1
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.url.netloc, timeout=30)
            self.connection.request("GET", self.url.path, headers={"Range": f"bytes={first * PIECE_BYTES}-{last}"})
            response = self.connection.getresponse()
            if response.status != 206:
                raise http.client.HTTPException(f"status {response.status}")
            for piece in range(first, end):
                want = min(PIECE_BYTES, self.size - piece * PIECE_BYTES)
                self.arrived.append((piece, response.read(want)))
            response.read()
        except (OSError, http.client.HTTPException) as e:
            print(e, file=sys.stderr, flush=True)
            self.connection = None


class Viewer:
    def __init__(self, config):
        self.config = config
        self.title = Title(config["segments"], config["segment_s"])
        info = lt.torrent_info(config["torrent"])
        self.pieces = [False] * info.num_pieces()
        self.missing = 0  # the first piece that is
        self.p2p = [0] * len(self.title.sizes)
        self.cdn = [0] * len(self.title.sizes)
        self.raw = {"p2p": 0, "cdn": 0}
        self.notes = {}
        self.deadlines = set()
        self.asked = set()  # pieces that the web server owes
        # All else is as libtorrent has it by default.
        self.session = lt.session({
            "listen_interfaces": "%s:%d" % (config["address"], config["port"]),
            "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
            "alert_queue_size": 100000,
            "alert_mask": lt.alert.category_t.block_progress_notification
            | lt.alert.category_t.piece_progress_notification
            | lt.alert.category_t.connect_notification
            | lt.alert.category_t.error_notification,
        })
        self.dir = tempfile.mkdtemp(prefix="torrent-", dir=config["scratch"])
        self.handle = self.session.add_torrent({"ti": info, "save_path": self.dir})
        self.handle.set_sequential_download(config["sequential"])
        if config["web_seed_below_s"]:
            self.web = WebServer(config["web_seed"], self.title.ends[-1])
        else:
            self.web = None
            self.handle.add_url_seed(config["web_seed"])
        for host in config["peers"]:
            self.handle.connect_peer((host, config["port"]))
        self.player = Player(self.title, config["start_buffer_s"])

    def run(self):
        steer = report = 0.0
        while True:
            self.take()
            self.player.advance(self.pieces)
            now = time.monotonic()
            if now >= steer:
                steer = now + STEER_EVERY_S
                self.steer()
            if now >= report:
                report = now + REPORT_EVERY_S
                self.report()
            # Not wait_for_alert: the binding of 2.0.8 returns an alert that may be
            # gone already, and crashes.
            time.sleep(LOOK_EVERY_S)

    def take(self):
        """Takes what has happened since the last time."""
        for a in self.session.pop_alerts():
            if isinstance(a, lt.block_finished_alert):
                self.count(a.piece_index, a.block_index, a.endpoint[0])
            elif isinstance(a, lt.piece_finished_alert):
                self.pieces[a.piece_index] = True
                self.deadlines.discard(a.piece_index)
                self.asked.discard(a.piece_index)
            elif not isinstance(a, lt.block_downloading_alert):
                self.notes[a.what()] = self.notes.get(a.what(), 0) + 1
        while self.web and self.web.arrived:
            piece, data = self.web.arrived.popleft()
            self.raw["cdn"] += len(data)
            if not self.pieces[piece] and data:
                self.handle.add_piece(piece, data, 0)
        while self.missing < len(self.pieces) and self.pieces[self.missing]:
            self.missing += 1

    def count(self, piece, block, host):
        """Books a block; those of add_piece come from nowhere."""
        if host == self.config["web_seed_host"]:
            self.raw["cdn"] += self.book(piece, block, self.cdn)
        elif host == NOWHERE:
            self.book(piece, block, self.cdn)
        else:
            self.raw["p2p"] += self.book(piece, block, self.p2p)

    def book(self, piece, block, into):
        """Divides a block among the segments that it is of."""
        begin = piece * PIECE_BYTES + block * BLOCK_BYTES
        end = min(begin + BLOCK_BYTES, self.title.ends[-1])
        for i, last in enumerate(self.title.ends):
            first = last - self.title.sizes[i]
            into[i] += max(min(end, last) - max(begin, first), 0)
        return end - begin

    def steer(self):
        """Says what is wanted next: what lies within the window, and by when."""
        c, t = self.config, self.title
        window = t.byte_at(self.player.position + c["window_s"]) // PIECE_BYTES
        if self.web and not self.web.busy():
            self.asked.clear()  # what is still of it has failed
            if self.missing <= min(window, len(self.pieces) - 1) and self.player.buffer() < c["web_seed_below_s"]:
                self.ask(window)
        self.handle.prioritize_pieces(
            [4 if i <= window and i not in self.asked else 0 for i in range(len(self.pieces))]
        )
        # Streaming clients give the pieces before the playhead deadlines.
        for i in range(self.missing, min(self.missing + c["web_seed_pieces"], len(self.pieces))):
            if not self.pieces[i] and i not in self.deadlines | self.asked and i <= window:
                due = max(i * PIECE_BYTES / t.ends[-1] * t.length_s - self.player.position, 0)
                self.handle.set_piece_deadline(i, int(due * 1000))
                self.deadlines.add(i)

    def ask(self, window):
        """Asks the web server for the first missing pieces."""
        end = self.missing
        while end <= window and end - self.missing < self.config["web_seed_pieces"]:
            if end >= len(self.pieces) or self.pieces[end]:
                break
            end += 1
        self.asked.update(range(self.missing, end))
        self.web.fetch(self.missing, end)

    def report(self):
        status = self.handle.status()
        segments = {
            name: {"p2p": self.p2p[i], "cdn": self.cdn[i]}
            for i, name in enumerate(self.title.names)
            if i < self.player.appended
        }
        line = self.player.report()
        line.update(
            p2p_bytes=self.raw["p2p"], cdn_bytes=self.raw["cdn"], sent_bytes=status.total_payload_upload,
            duplicate_bytes=status.total_redundant_bytes, segments=segments,
            notes=dict(self.notes, peers=status.num_peers),
        )
        print(json.dumps(line), flush=True)


def main():
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
        return
    with open(sys.argv[2]) as f:
        Viewer(json.load(f)).run()


main()
