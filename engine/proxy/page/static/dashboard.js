// The dashboard: what the node tells twice a second by server-sent events, as
// numbers, a chart, a map and tables. Every number element names its field of
// /api/status in data-field and has the raw value in data-value.

import { Chart, Rates } from './chart.js';
import { clock, format, pick } from './format.js';
import { PieceMap, drawLegend } from './map.js';
import { view } from './viewer.js';

const $ = id => document.getElementById(id);

// The stream is reopened by ourselves: a browser gives up for good on an answer
// that is no stream, e.g. of another program on this port.
const retryMs = 1000;
// Two silent seconds are four missed states.
const silentMs = 4000;
// A tab that nobody sees needs no stream; a browser has six connections per host.
const hiddenMs = 30000;
const eventsMax = 8;

const rates = new Rates();
const chart = new Chart($('chart'));
const map = new PieceMap($('map'));
drawLegend($('map-legend'));

const setText = (el, text) => {
  if (el.textContent !== text) el.textContent = text;
};

// show writes one value of the status.
const show = (el, value, status) => {
  const raw = value === undefined || value === null ? '' : String(value);
  if (el.dataset.value !== raw) el.dataset.value = raw;
  setText(el, format(el.dataset.format, value, status));
};

// ---- rows that come and go

// syncRows keeps one element per item, in the order of the items.
const syncRows = (parent, items, keyOf, make, update) => {
  const have = new Map(Array.from(parent.children, el => [el.dataset.key, el]));
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    let el = have.get(key);
    have.delete(key);
    if (!el) {
      el = make(item, key);
      el.dataset.key = key;
    }
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== el) parent.insertBefore(el, place);
    before = el;
    update(el, item);
  }
  for (const el of have.values()) el.remove();
  const empty = document.querySelector(`[data-empty="${parent.id}"]`);
  if (empty) empty.hidden = items.length > 0;
};

// tableRow makes a row whose cells are fields of an item.
const tableRow = (prefix, head, fields) => (item, key) => {
  const tr = document.createElement('tr');
  const th = document.createElement('th');
  th.scope = 'row';
  head(th, item);
  tr.append(th);
  for (const [field, name] of fields) {
    const td = document.createElement('td');
    td.dataset.field = `${prefix}.${key}.${field}`;
    td.dataset.of = field;
    if (name) td.dataset.format = name;
    tr.append(td);
  }
  return tr;
};

const updateRow = (tr, item) => {
  for (const td of tr.querySelectorAll('td')) show(td, item[td.dataset.of]);
};

const shortID = (th, item) => {
  th.textContent = item.id.slice(0, 8);
  th.title = item.addr ? `${item.id} at ${item.addr}` : item.id;
  th.className = 'addr';
};

const seedRow = tableRow('seeds', shortID, [
  ['score', 'score'], ['grade', ''], ['rtt_ms', 'millis'], ['rate_bytes_per_sec', 'rate'], ['loss', 'percent'],
  ['frozen_ms', 'frozen'], ['path', ''], ['pieces', ''], ['received_bytes', 'bytes'],
]);

const leechRow = tableRow('leeches', shortID, [
  ['sent_bytes', 'bytes'], ['rtt_ms', 'millis'], ['window_bytes', 'bytes'], ['pacing_bytes_per_sec', 'rate'],
  ['tier', ''], ['mode', ''],
]);

const playerName = id => {
  if (id === view.viewerId) return 'this page';
  if (id === '') return 'unnamed';
  return id.replace(/^(sid|client):/, '').slice(0, 12);
};

const playerRow = tableRow('viewers', (th, v) => {
  th.textContent = playerName(v.id);
  th.title = v.id;
}, [
  ['position_s', 'clock'], ['buffer_s', 'seconds'], ['ready_s', 'seconds'], ['stalls', ''], ['read_bytes', 'bytes'],
]);

// ---- why from the CDN

const reasonTexts = {
  startup: ['Start', 'The first picture, and the first after a seek, must not wait for peers.'],
  first_copy: ['First copy', 'Somebody has to bring a new piece into the swarm, and it was this node’s turn.'],
  rescue: ['Rescue', 'Peers would have been too late, and the picture must not stop.'],
  hash_failure: ['Broken copy', 'A peer’s copy failed its check, so the piece was fetched again.'],
};

const passthroughText = ['Playlists and the like', 'Playlists, keys, and files that no title.shoal describes always come from the CDN. They are not counted in the saving.'];

const showReasons = (status, passthrough) => {
  const names = Object.keys(reasonTexts).concat(Object.keys(status.cdn_reasons).filter(name => !reasonTexts[name]));
  const items = names.map(name => ({ field: `cdn_reasons.${name}`, value: status.cdn_reasons[name] || 0, words: reasonTexts[name] || [name, ''] }));
  items.push({ field: 'passthrough_bytes', value: passthrough, words: passthroughText });
  syncRows($('reasons'), items, item => item.field, item => {
    const box = document.createElement('div');
    const dt = document.createElement('dt');
    const name = document.createElement('span');
    name.textContent = item.words[0];
    const value = document.createElement('span');
    value.dataset.field = item.field;
    value.dataset.format = 'bytes';
    dt.append(name, value);
    const dd = document.createElement('dd');
    dd.textContent = item.words[1];
    box.append(dt, dd);
    return box;
  }, (box, item) => show(box.querySelector('[data-field]'), item.value));
};

// ---- status

let aloud = '';
let aloudAt = -Infinity;

// Screen readers hear the sentence when it says something else, not when a
// number in it moves.
const say = sentence => {
  setText($('says'), sentence);
  $('says').dataset.mood = /stopped|does not answer/.test(sentence) ? 'bad' : 'good';
  const gist = sentence.replace(/[\d:.]+/g, '');
  if (gist === aloud || performance.now() - aloudAt < 8000) return;
  aloud = gist;
  aloudAt = performance.now();
  $('says-aloud').textContent = sentence;
};

const statics = Array.from(document.querySelectorAll('[data-field]'));

const showRates = () => {
  const now = rates.now();
  for (const key of ['p2p', 'cdn', 'cache', 'served']) {
    setText(document.querySelector(`b[data-now="${key}"]`), now ? format('rate', now[key]) : '–');
  }
  const grown = rates.grown(10);
  const total = grown ? grown.p2p + grown.cdn : 0;
  const saving = document.querySelector('[data-now="saving"]');
  saving.dataset.value = total > 0 ? String(grown.p2p / total) : '';
  setText(saving, total > 0 ? format('percent', grown.p2p / total) : 'idle');
  if (now) {
    $('chart-words').textContent =
      `Now ${format('rate', now.p2p)} from peers, ${format('rate', now.cdn)} from the CDN, ${format('rate', now.cache)} from the cache, ${format('rate', now.served)} sent.`;
  }
};

const onStatus = ({ status, says, at_ms: at, passthrough_bytes: passthrough }) => {
  say(says);
  for (const el of statics) show(el, pick(status, el.dataset.field), status);
  rates.add(at / 1000, status.bytes);
  chart.draw(rates.series());
  showRates();
  showReasons(status, passthrough);
  const byReceived = (a, b) => b.score - a.score || (a.id < b.id ? -1 : 1);
  syncRows($('seeds'), [...status.seeds].sort(byReceived), s => s.id, seedRow, updateRow);
  syncRows($('leeches'), status.leeches, l => l.id, leechRow, updateRow);
  const players = status.titles.flatMap(t => t.viewers.map(v => ({ ...v, key: `${t.id}/${v.id}` })));
  syncRows($('players'), players, v => v.key, playerRow, updateRow);
  $('cache-bar').style.width = `${status.cache.limit > 0 ? Math.min(100, 100 * status.cache.bytes / status.cache.limit) : 0}%`;
  if (players.length === 0) showMap(null);
};

// ---- pieces

const showMap = m => {
  $('map-empty').hidden = m !== null && m.segments.length > 0;
  if (!m) {
    map.clear();
    setText($('map-where'), '');
    return;
  }
  map.draw(m);
  setText($('map-where'), `of ${playerName(m.viewer)}, at ${clock(m.position_s)}`);
};

// ---- events

const eventTexts = {
  title_opened: e => `A title was opened${e.path ? `: ${e.path}` : ''}.`,
  peer_connected: e => `Peer ${id(e)} is connected.`,
  peer_lost: e => `Peer ${id(e)} has gone${e.reason ? ` (${e.reason})` : ''}.`,
  peer_banned: e => `Peer ${id(e)} sent broken data and is banned.`,
  seed_frozen: e => `Peer ${id(e)} is busy; it is left alone for ${((e.duration || 0) / 1e9).toFixed(1)} s.`,
  hash_failed: e => `A copy of piece ${e.piece || 0} of ${e.path || 'a file'} failed its check.`,
  rescue: e => `The CDN is asked for a piece of ${e.path || 'a file'}: ${(reasonTexts[e.reason] || [e.reason || 'rescue'])[0].toLowerCase()}.`,
  first_peer_bytes: () => 'The first bytes from a peer are here.',
  origin_mismatch: e => `The CDN has other bytes than title.shoal says for ${e.path || 'a file'}; run shoal pack again.`,
  stalled: () => 'The picture stopped.',
};

const id = e => (e.peer || '').slice(0, 8);

const onEvent = e => {
  const text = (eventTexts[e.kind] || (() => e.kind))(e);
  const list = $('events');
  const first = list.firstElementChild;
  const when = new Date(e.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
  document.querySelector('[data-empty="events"]').hidden = true;
  if (first && first.dataset.text === text) {
    first.dataset.times = String(Number(first.dataset.times) + 1);
    first.querySelector('time').textContent = when;
    first.querySelector('span').textContent = `${text} (${first.dataset.times} times)`;
    return;
  }
  const li = document.createElement('li');
  li.dataset.kind = e.kind;
  li.dataset.text = text;
  li.dataset.times = '1';
  const time = document.createElement('time');
  time.dateTime = e.at;
  time.textContent = when;
  const span = document.createElement('span');
  span.textContent = text;
  li.append(time, span);
  list.prepend(li);
  while (list.children.length > eventsMax) list.lastChild.remove();
};

// ---- the stream

let source = null;
let retry = 0;
let silence = 0;
let hide = 0;

const setLink = state => {
  if ($('link').dataset.link === state) return;
  $('link').dataset.link = state;
  setText($('link-text'), { live: 'Live', connecting: 'Connecting…', lost: 'The node does not answer; trying again', resting: 'Resting while hidden' }[state]);
  if (state === 'lost') say('The node does not answer. What is shown is the last that it said.');
  dispatchEvent(new CustomEvent('shoal:link', { detail: state }));
};

const close = () => {
  clearTimeout(retry);
  clearTimeout(silence);
  if (source) source.close();
  source = null;
};

const onLost = () => {
  close();
  setLink('lost');
  retry = setTimeout(open, retryMs);
};

const heard = () => {
  clearTimeout(silence);
  silence = setTimeout(onLost, silentMs);
};

const open = () => {
  close();
  source = new EventSource(`/api/live?viewer=${encodeURIComponent(view.viewerId)}`);
  const on = (name, f) => source.addEventListener(name, e => {
    heard();
    f(JSON.parse(e.data));
  });
  on('status', data => {
    setLink('live');
    onStatus(data);
  });
  on('pieces', showMap);
  on('event', onEvent);
  source.addEventListener('error', onLost);
  heard();
};

document.addEventListener('visibilitychange', () => {
  clearTimeout(hide);
  if (document.hidden) {
    hide = setTimeout(() => {
      close();
      setLink('resting');
    }, hiddenMs);
  } else if (!source) {
    open();
  }
});

open();
