// The map of the pieces around the playhead. Each piece is a cell with a letter
// and a pattern of its own; each segment tells a screen reader what it holds.

import { clock } from './format.js';

// states, in the order of the legend: letter, name, words of a summary.
const states = [
  ['P', 'from peers', 'from peers'],
  ['C', 'from the CDN', 'from the CDN'],
  ['M', 'from both', 'from both'],
  ['K', 'from the cache', 'from the cache'],
  ['a', 'asked of peers', 'asked of peers'],
  ['f', 'coming from the CDN', 'coming from the CDN'],
  ['w', 'wanted', 'wanted'],
  ['.', 'not needed yet', 'not needed yet'],
];

const kinds = { muxed: 'Video with sound', video: 'Video', audio: 'Sound', text: 'Text', image: 'Pictures' };
const known = new Set(states.map(([letter]) => letter));
const classOf = letter => (letter === '.' || !known.has(letter) ? 's-none' : `s-${letter}`);
const denseFrom = 25; // pieces per segment: above it cells are small and carry no letter

const cellOf = letter => {
  const i = document.createElement('i');
  i.className = `cell ${classOf(letter)}`;
  i.textContent = letter === '.' ? '' : letter;
  return i;
};

export const drawLegend = list => {
  list.replaceChildren(...states.map(([letter, name]) => {
    const li = document.createElement('li');
    const cell = cellOf(letter);
    cell.classList.add('big');
    cell.setAttribute('aria-hidden', 'true');
    const letterForAll = document.createElement('span');
    letterForAll.className = 'visually-hidden';
    letterForAll.textContent = `${letter === '.' ? 'no letter' : letter}: `;
    li.append(cell, letterForAll, name);
    return li;
  }));
};

const summary = (segment, position) => {
  const counts = new Map();
  for (const letter of segment.pieces) counts.set(letter, (counts.get(letter) || 0) + 1);
  const parts = states.filter(([letter]) => counts.has(letter)).map(([letter, , words]) => `${counts.get(letter)} ${words}`);
  const end = segment.start_s + segment.duration_s;
  const now = position >= segment.start_s && position < end ? ', playing now' : '';
  return `${clock(segment.start_s)} to ${clock(end)}${now}: ${parts.join(', ') || 'nothing'}`;
};

export class PieceMap {
  #box;
  #tracks = new Map(); // track → {element, list, segments: Map(key → element)}

  constructor(box) {
    this.#box = box;
  }

  clear() {
    this.#tracks.clear();
    this.#box.replaceChildren();
  }

  draw(map) {
    const byTrack = Map.groupBy ? Map.groupBy(map.segments, s => s.track) : group(map.segments);
    for (const [track, t] of this.#tracks) {
      if (!byTrack.has(track)) {
        t.element.remove();
        this.#tracks.delete(track);
      }
    }
    for (const [track, segments] of byTrack) this.#drawTrack(track, segments, map.position_s);
  }

  #drawTrack(track, segments, position) {
    let t = this.#tracks.get(track);
    if (!t) {
      t = { element: document.createElement('div'), head: document.createElement('h4'), list: document.createElement('div'), segments: new Map() };
      t.element.className = 'track';
      t.element.dataset.track = track;
      t.list.className = 'segments';
      t.element.append(t.head, t.list);
      this.#tracks.set(track, t);
      this.#box.append(t.element);
    }
    const folder = segments[0].path.split('/').at(-2);
    const head = [kinds[segments[0].kind] || 'Media', folder || `track ${track}`].join(', ');
    if (t.head.textContent !== head) t.head.textContent = head;
    t.element.classList.toggle('dense', segments.some(s => s.pieces.length >= denseFrom));
    const seen = new Set();
    let before = null;
    for (const segment of segments) {
      const key = `${segment.path} ${segment.start_s}`;
      seen.add(key);
      let el = t.segments.get(key);
      if (!el) {
        el = newSegment(segment);
        t.segments.set(key, el);
      }
      const place = before ? before.nextSibling : t.list.firstChild;
      if (place !== el) t.list.insertBefore(el, place);
      before = el;
      drawSegment(el, segment, position);
    }
    for (const [key, el] of t.segments) {
      if (!seen.has(key)) {
        el.remove();
        t.segments.delete(key);
      }
    }
  }
}

const group = segments => {
  const out = new Map();
  for (const s of segments) out.set(s.track, [...(out.get(s.track) || []), s]);
  return out;
};

const newSegment = segment => {
  const el = document.createElement('div');
  el.className = 'segment';
  el.setAttribute('role', 'img');
  const time = document.createElement('time');
  time.textContent = clock(segment.start_s);
  const cells = document.createElement('div');
  cells.className = 'cells';
  el.append(time, cells);
  el.title = segment.path;
  return el;
};

const drawSegment = (el, segment, position) => {
  el.toggleAttribute('data-now', position >= segment.start_s && position < segment.start_s + segment.duration_s);
  const label = summary(segment, position);
  if (el.getAttribute('aria-label') !== label) el.setAttribute('aria-label', label);
  if (el.dataset.pieces === segment.pieces) return;
  el.dataset.pieces = segment.pieces;
  const cells = el.lastChild;
  while (cells.children.length > segment.pieces.length) cells.lastChild.remove();
  for (let i = 0; i < segment.pieces.length; i++) {
    const letter = segment.pieces[i];
    const cell = cells.children[i];
    if (!cell) cells.append(cellOf(letter));
    else if (!cell.classList.contains(classOf(letter))) {
      cell.className = `cell ${classOf(letter)}`;
      cell.textContent = letter === '.' ? '' : letter;
    }
  }
};
