// The picture of a swarm: the CDN in the middle, peers around it, a line for
// each that feeds another. Elements are kept by key between answers, so that
// focus and animations go on.
import { bytes, percent, region } from './format.js';

const svgns = 'http://www.w3.org/2000/svg';
const width = 720;
const height = 590;
const center = { x: width / 2, y: height / 2 };
const cdnRadius = 30;
const arrows = [[2.4, 7], [4.8, 10], [Infinity, 13]]; // lines up to a width have arrows of a length
const labelsMax = 36; // peers with their names beside them
const phoneLabelsMax = 10; // on a narrow screen
const linesMax = 400; // drawn, the heaviest
const activeFor = 7000; // ms after a line has grown: a peer's next report is due by then

let chosen = ''; // a peer's ID, or ''
let swarm; // drawn last
let svg;
let words;
const layers = {};
const kept = new Map(); // key -> element
const before = new Map(); // key of a line -> its bytes, and when they grew

const make = (name, attributes = {}) => {
  const e = document.createElementNS(svgns, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
};

const begin = () => {
  const defs = make('defs');
  for (const kind of ['p2p', 'cdn']) {
    for (const [, size] of arrows) {
      const marker = make('marker', {
        id: `arrow-${kind}-${size}`, class: `arrow ${kind}`, viewBox: '0 0 10 10', refX: 1, refY: 5,
        markerWidth: size, markerHeight: size, markerUnits: 'userSpaceOnUse', orient: 'auto',
      });
      marker.append(make('path', { d: 'M0 0 L10 5 L0 10 z' }));
      defs.append(marker);
    }
  }
  svg.append(defs);
  for (const name of ['lines', 'middle', 'peers']) {
    layers[name] = make('g', { class: name });
    svg.append(layers[name]);
  }
  const label = make('text', { x: center.x, y: center.y, class: 'cdn-label', 'aria-hidden': 'true' });
  label.textContent = 'CDN';
  layers.middle.append(make('circle', { cx: center.x, cy: center.y, r: cdnRadius, class: 'cdn-node' }), label);
  svg.addEventListener('click', e => choose(e.target.closest('.peer')?.dataset.id || ''));
  svg.addEventListener('keydown', e => {
    const peer = e.target.closest('.peer');
    if (e.key === 'Escape') choose('');
    if (!peer || (e.key !== 'Enter' && e.key !== ' ')) return;
    e.preventDefault();
    choose(peer.dataset.id);
  });
};

const choose = id => {
  chosen = chosen === id ? '' : id;
  if (swarm) draw(svg, words, swarm);
};

// place puts peers on a ring; those of a provider stand side by side.
const place = members => {
  const order = members.map((m, i) => ({ m, i })).sort((a, b) =>
    (a.m.region + a.m.isp + a.m.id < b.m.region + b.m.isp + b.m.id ? -1 : 1));
  const n = order.length;
  const labels = n <= labelsMax;
  const radius = labels ? 226 : 268;
  const size = Math.max(5, Math.min(22, Math.PI * radius / n * 0.8));
  const at = [];
  order.forEach(({ i }, k) => {
    const angle = 2 * Math.PI * k / n - Math.PI / 2;
    at[i] = { x: center.x + radius * Math.cos(angle), y: center.y + radius * Math.sin(angle), angle, size };
  });
  return { at, labels };
};

const toward = (from, to, distance) => {
  const d = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  return { x: from.x + (to.x - from.x) * distance / d, y: from.y + (to.y - from.y) * distance / d };
};

const round = v => v.toFixed(1);

// curve bends around the middle, to the right of the way it goes, so that two
// that feed each other have a line each.
const curve = (a, b, arrow) => {
  const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const d = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const right = { x: -(b.y - a.y) / d, y: (b.x - a.x) / d };
  // Lines through the middle keep clear of the CDN.
  const off = Math.hypot(middle.x - center.x, middle.y - center.y);
  const bend = off < cdnRadius * 2.2 ? cdnRadius * 3.4 : 18 + d * 0.08;
  const control = { x: middle.x + right.x * bend, y: middle.y + right.y * bend };
  const from = toward(a, control, a.size + 3);
  const to = toward(b, control, b.size + 2 + arrow);
  return `M${round(from.x)} ${round(from.y)} Q${round(control.x)} ${round(control.y)} ${round(to.x)} ${round(to.y)}`;
};

const straight = (a, b, arrow) => {
  const from = toward(a, b, cdnRadius + 3);
  const to = toward(b, a, b.size + 2 + arrow);
  return `M${round(from.x)} ${round(from.y)} L${round(to.x)} ${round(to.y)}`;
};

const keep = (key, layer, create, used) => {
  let e = kept.get(key);
  if (!e) {
    e = create();
    kept.set(key, e);
    layers[layer].append(e);
  }
  used.add(key);
  return e;
};

const attribute = (e, name, value) => {
  if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
};

const line = (used, key, kind, way, a, b, thick, n, dim) => {
  const g = keep(key, 'lines', () => {
    const made = make('g', { class: `line ${kind}`, 'aria-hidden': 'true' });
    made.append(make('path', { class: 'way' }), make('path', { class: 'flow' }));
    return made;
  }, used);
  const arrow = arrows.find(([upTo]) => thick <= upTo)[1];
  const d = way(a, b, arrow);
  for (const path of g.children) attribute(path, 'd', d);
  attribute(g.firstChild, 'stroke-width', thick.toFixed(1));
  attribute(g.firstChild, 'marker-end', `url(#arrow-${kind}-${arrow})`);
  attribute(g.lastChild, 'stroke-width', Math.min(thick, 2.4).toFixed(1));
  const known = before.get(key);
  if (!known || n > known.n) before.set(key, { n, at: known ? Date.now() : 0 });
  g.classList.toggle('active', Date.now() - before.get(key).at < activeFor);
  g.classList.toggle('dim', dim);
};

const describe = (s, i) => {
  const m = s.members[i];
  const where = m.isp === m.region ? m.isp : `${m.isp}, ${region(m.region)}`;
  const who = `${m.id} (${where}${m.grade ? `, grade ${m.grade}` : ''})`;
  if (!m.reports) return `${who} does not report its bytes: an older version.`;
  const from = s.feeds.filter(f => f[1] === i).length;
  const to = s.feeds.filter(f => f[0] === i);
  const took = m.figures.p2p > 0 ? `${bytes(m.figures.p2p)} from ${from === 1 ? '1 peer' : from > 1 ? `${from} peers` : 'peers that have left'}` : 'nothing from peers';
  const cdn = m.figures.cdn > 0 ? `${bytes(m.figures.cdn)} from the CDN` : 'nothing from the CDN';
  const gave = m.figures.served > 0 ? ` It has served ${bytes(m.figures.served)}${to.length ? `, to ${to.length === 1 ? '1 peer' : `${to.length} peers`} here` : ''}.` : ' It has served nobody yet.';
  return `${who} took ${took} and ${cdn}.${gave}`;
};

const peer = (used, s, i, spot, labels, dim) => {
  const m = s.members[i];
  const g = keep(`peer ${m.id}`, 'peers', () => {
    const made = make('g', { class: 'peer', tabindex: 0, role: 'button' });
    made.dataset.id = m.id;
    made.append(make('title'), make('circle', { class: 'disc' }), make('circle', { class: 'ring cdn' }),
      make('circle', { class: 'ring p2p', pathLength: 100, transform: 'rotate(-90)' }),
      make('text', { class: 'name' }), make('text', { class: 'share' }));
    return made;
  }, used);
  const [title, disc, cdn, p2p, name, share] = g.children;
  attribute(g, 'transform', `translate(${round(spot.x)} ${round(spot.y)})`);
  attribute(g, 'aria-label', describe(s, i));
  attribute(g, 'aria-pressed', m.id === chosen);
  g.classList.toggle('dim', dim);
  title.textContent = describe(s, i);
  attribute(disc, 'r', round(spot.size));
  const ring = spot.size - Math.max(1.2, spot.size * 0.14);
  const thick = Math.max(2, spot.size * 0.28).toFixed(1);
  const known = m.saving !== null;
  for (const circle of [p2p, cdn]) {
    attribute(circle, 'r', known ? round(ring) : 0);
    attribute(circle, 'stroke-width', thick);
  }
  attribute(p2p, 'stroke-dasharray', `${known ? (m.saving * 100).toFixed(1) : 0} 100`);
  share.textContent = known && spot.size > 15 ? `${Math.round(m.saving * 100)}` : '';
  name.textContent = labels ? m.id : '';
  const out = spot.size + 10;
  attribute(name, 'x', round(out * Math.cos(spot.angle)));
  attribute(name, 'y', round(out * Math.sin(spot.angle) + (Math.abs(Math.cos(spot.angle)) < 0.3 ? Math.sign(Math.sin(spot.angle)) * 5 : 0)));
  const side = Math.cos(spot.angle);
  attribute(name, 'text-anchor', side > 0.3 ? 'start' : side < -0.3 ? 'end' : 'middle');
};

// draw shows the swarm s in the SVG, and what is chosen in words.
export const draw = (into, wordsInto, s) => {
  [svg, words, swarm] = [into, wordsInto, s];
  if (!layers.lines) begin();
  if (chosen && !s.members.some(m => m.id === chosen)) chosen = '';
  const { at, labels } = place(s.members);
  svg.classList.toggle('crowd', s.members.length > phoneLabelsMax);
  svg.classList.toggle('dense', !labels);
  const used = new Set();
  const lines = s.feeds.slice(0, linesMax);
  const scale = labels ? 1 : 0.45;
  const most = Math.max(1, ...lines.map(f => f[2]), ...s.members.map(m => m.figures.cdn));
  const thick = n => scale * (1.2 + 6.3 * Math.sqrt(n / most));
  const near = new Set([chosen]);
  s.members.forEach((m, i) => {
    if (m.figures.cdn > 0) {
      line(used, `cdn ${m.id}`, 'cdn', straight, center, at[i], thick(m.figures.cdn), m.figures.cdn, chosen !== '' && chosen !== m.id);
    }
  });
  for (const [from, to, n] of lines) {
    const [a, b] = [s.members[from].id, s.members[to].id];
    const mine = chosen === '' || chosen === a || chosen === b;
    if (mine) near.add(a).add(b);
    line(used, `feed ${a} ${b}`, 'p2p', curve, at[from], at[to], thick(n), n, !mine);
  }
  s.members.forEach((m, i) => peer(used, s, i, at[i], labels, chosen !== '' && !near.has(m.id)));
  for (const [key, e] of kept) {
    if (used.has(key)) continue;
    e.remove();
    kept.delete(key);
    before.delete(key);
  }
  const i = s.members.findIndex(m => m.id === chosen);
  const text = i >= 0 ? describe(s, i) : 'Choose a peer to see what it takes and gives.';
  if (words.textContent !== text) words.textContent = text;
};
