// The swarm view: asks the tracker every two seconds and shows what it says.
// The title that is looked at is in the address, after '#'.
import { bytes, percent, duration, region, titleName, format, pick, reasons } from './format.js';
import { draw } from './graph.js';

const pollEvery = 2000; // ms; peers report every 5 s
const patience = 5000; // ms for one answer
const feedsShown = 100; // lines of the table
const sayEvery = 15000; // ms between sentences read aloud

const $ = id => document.getElementById(id);
const present = v => v !== undefined && v !== null;

// el makes an element; what others said goes in as text, never as markup.
const el = (name, props = {}, ...children) => {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === 'class') e.className = value;
    else e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
};

const wanted = () => (/^#[0-9a-f]{64}$/.test(location.hash) ? location.hash.slice(1) : '');

// set changes a text only when it differs: selections and screen readers stay
// where they are.
const set = (e, text) => {
  if (e.textContent !== text) e.textContent = text;
};

const show = (id, on) => { $(id).hidden = !on; };

const fill = live => {
  for (const e of document.querySelectorAll('[data-field]')) {
    set(e, format(e.dataset.format, pick(live, e.dataset.field)));
  }
};

// rows keeps the rows of a table by key, so that focus stays where it is.
const rows = (body, items, keyOf, make, update) => {
  const known = new Map([...body.children].map(row => [row.dataset.key, row]));
  items.forEach((item, i) => {
    const key = keyOf(item);
    let row = known.get(key);
    if (!row) {
      row = make(item);
      row.dataset.key = key;
    }
    known.delete(key);
    update(row, item);
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] || null);
  });
  for (const row of known.values()) row.remove();
};

const cells = (row, texts) => texts.forEach((text, i) => set(row.children[i], text));

const savingOf = v => (present(v) ? percent(v) : '–');

let lastSaid = 0;
const say = text => {
  if ($('says').textContent === text) return;
  set($('says'), text);
  if (Date.now() - lastSaid > sayEvery) {
    lastSaid = Date.now();
    set($('says-aloud'), text);
  }
};

// The whole bar: peers, then the CDN by reason.
const showSplit = f => {
  const total = f.p2p + f.cdn;
  const parts = [['p2p', 'From peers', f.p2p]];
  for (const [key, label] of reasons) {
    if (f.cdn_reasons[key] > 0) parts.push([`cdn ${key}`, `CDN: ${label.toLowerCase()}`, f.cdn_reasons[key]]);
  }
  const shown = total > 0 ? parts.filter(p => p[2] > 0) : [];
  $('split').replaceChildren(...shown.map(([key, , n]) => {
    const part = el('i', { class: key });
    part.style.flexGrow = String(n / total);
    return part;
  }));
  const words = shown.map(([, label, n]) => `${label} ${bytes(n)}, ${percent(n / total)}`);
  $('split').setAttribute('aria-label', `Bytes by source: ${words.join('; ') || 'nothing yet'}`);
  $('split-legend').replaceChildren(...shown.map(([key, label, n]) =>
    el('li', {}, el('i', { class: `key ${key}`, 'aria-hidden': 'true' }), `${label} `, el('b', {}, percent(n / total)))));
};

const showTitles = live => {
  const chosen = live.swarm ? live.swarm.id : '';
  rows($('titles'), live.titles, t => t.id,
    t => {
      const meter = el('meter', { min: 0, max: 1, 'aria-hidden': 'true' });
      return el('tr', {},
        el('th', { scope: 'row' }, el('a', { href: `#${t.id}` })),
        el('td'), el('td', {}, el('span'), meter), el('td'), el('td'), el('td'));
    },
    (row, t) => {
      const link = row.querySelector('a');
      set(link, titleName(t));
      link.title = t.id;
      if (t.id === chosen) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
      set(row.children[1], format('', t.peers));
      set(row.querySelector('span'), savingOf(t.saving));
      row.querySelector('meter').value = t.saving || 0;
      set(row.children[3], bytes(t.figures.p2p));
      set(row.children[4], bytes(t.figures.cdn));
      set(row.children[5], format('', t.figures.stalls));
    });
  $('titles').closest('table').hidden = live.titles.length === 0;
  show('titles-empty', live.titles.length === 0);
  show('titles-more', live.titles_more > 0);
  set($('titles-more'), `And ${format('', live.titles_more)} smaller swarms that are not listed.`);
};

// bars shows a breakdown: [name, words, value, text].
const bars = (list, items) => {
  const most = Math.max(1, ...items.map(i => i[2]));
  list.replaceChildren(...items.map(([name, words, value, text, kind]) => {
    const bar = el('i', { class: `bar ${kind || ''}`, 'aria-hidden': 'true' });
    bar.style.width = `${Math.max(1, value / most * 100)}%`;
    const term = el('dt', {}, el('span', {}, name), el('b', {}, text));
    return el('div', {}, term, el('dd', {}, bar, ...(words ? [el('span', { class: 'quiet' }, words)] : [])));
  }));
};

const peerCount = n => (n === 1 ? '1 peer' : `${format('', n)} peers`);

const showBreakdowns = s => {
  const f = s.figures;
  bars($('reasons'), reasons.filter(([key]) => f.cdn_reasons[key] > 0).map(([key, label, words]) =>
    [label, words, f.cdn_reasons[key], `${bytes(f.cdn_reasons[key])} · ${percent(f.cdn_reasons[key] / f.cdn)}`, `cdn ${key}`]));
  show('reasons-empty', f.cdn === 0);
  const group = (list, items, name) => bars(list, items.map(g => [name(g.name), '', g.peers, peerCount(g.peers)]));
  group($('isps'), s.isps, n => n);
  group($('regions'), s.regions, region);
  group($('grades'), s.grades, n => (n.length === 1 ? `Grade ${n}` : 'Not handed out yet'));
  show('isps-hint', s.isps.every(g => g.name === 'unknown' || g.name === 'local'));
};

const showMembers = s => {
  rows($('members'), s.members, m => m.id,
    () => el('tr', {}, el('th', { scope: 'row', class: 'id' }), el('td', { class: 'left' }), el('td', { class: 'left' }),
      ...Array.from({ length: 10 }, () => el('td'))),
    (row, m) => cells(row, [
      m.id, m.isp, region(m.region), m.grade || '–', duration(m.online_s), String(m.viewers), percent(m.held), savingOf(m.saving),
      ...(m.reports
        ? [bytes(m.figures.p2p), bytes(m.figures.cdn), bytes(m.figures.cache), bytes(m.figures.served), format('', m.figures.stalls)]
        : ['–', '–', '–', '–', '–']),
    ]));
  show('members-more', s.members_more > 0);
  set($('members-more'), `${format('', s.members_more)} more peers take part; ${s.members.length} of them are shown, as a sample.`);
};

const showFeeds = s => {
  const shown = s.feeds.slice(0, feedsShown);
  rows($('feeds'), shown, f => `${s.members[f[0]].id} ${s.members[f[1]].id}`,
    () => el('tr', {}, el('th', { scope: 'row', class: 'id' }), el('td', { class: 'left id' }), el('td')),
    (row, f) => cells(row, [s.members[f[0]].id, s.members[f[1]].id, bytes(f[2])]));
  $('feeds').closest('table').hidden = s.feeds.length === 0;
  show('feeds-empty', s.feeds.length === 0);
  show('feeds-more', !$('feeds-table').hidden && s.feeds.length > feedsShown);
  set($('feeds-more'), `The ${feedsShown} heaviest of ${format('', s.feeds.length)} are listed.`);
};

const showSwarm = s => {
  show('swarm', Boolean(s));
  if (!s) return;
  set($('swarm-head'), titleName(s));
  const bits = [peerCount(s.peers)];
  if (present(s.saving)) bits.push(`saving ${percent(s.saving)}`);
  if (!s.name) bits.push('start the tracker with --title FILE to see its name');
  set($('swarm-words'), bits.join(' · '));
  showBreakdowns(s);
  showMembers(s);
  showFeeds(s);
  draw($('graph'), $('graph-words'), s);
};

const link = (state, text) => {
  $('link').dataset.link = state;
  set($('link-text'), text);
};

let lastAnswer = 0;
let running;

// poll asks and shows. A question under way is given up: it may be about another
// title.
const poll = async () => {
  const mine = new AbortController();
  running?.abort();
  running = mine;
  const timer = setTimeout(() => mine.abort(), patience);
  try {
    const title = wanted();
    const answer = await fetch(`/api/swarms${title ? `?title=${title}` : ''}`, { cache: 'no-store', signal: mine.signal });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const live = await answer.json();
    if (running !== mine) return;
    // A swarm that has dissolved gives way to the largest.
    if (title && !live.swarm && live.titles.length > 0) {
      history.replaceState(null, '', location.pathname);
    }
    lastAnswer = Date.now();
    link('live', 'Live');
    say(live.says);
    fill(live);
    showSplit(live.figures);
    showTitles(live);
    showSwarm(live.swarm);
    document.documentElement.dataset.ready = 'true';
  } catch (err) {
    if (running !== mine) return;
    const ago = lastAnswer ? ` What you see is ${duration((Date.now() - lastAnswer) / 1000)} old.` : '';
    link('lost', `The tracker does not answer; trying again.${ago}`);
    if (err instanceof TypeError || err.name === 'AbortError') return;
    console.warn(err);
  } finally {
    clearTimeout(timer);
    if (running === mine) running = undefined;
  }
};

const switchTo = table => {
  show('picture', !table);
  show('feeds-table', table);
  $('as-picture').setAttribute('aria-pressed', String(!table));
  $('as-table').setAttribute('aria-pressed', String(table));
};
$('as-picture').addEventListener('click', () => switchTo(false));
$('as-table').addEventListener('click', () => { switchTo(true); poll(); });
addEventListener('hashchange', poll);
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
// A page in the background asks nothing, and one question at a time is enough.
setInterval(() => { if (!document.hidden && !running) poll(); }, pollEvery);
poll();
