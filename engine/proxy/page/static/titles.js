// The list of titles that the node knows. Each is a link to its deep link, so
// that keyboard, screen reader and history work as with any link.

import { linkOf, readable } from './place.js';

const $ = id => document.getElementById(id);

let titles = [];
let playing = '';

const link = t => {
  const a = document.createElement('a');
  a.className = 'title';
  a.href = linkOf(t.path);
  a.dataset.path = t.path;
  const name = document.createElement('b');
  name.textContent = t.name;
  a.append(name);
  if (t.live) {
    const badge = document.createElement('span');
    badge.className = 'badge';
    badge.textContent = 'Live';
    a.append(badge);
  }
  const path = document.createElement('span');
  path.className = 'quiet addr';
  path.textContent = t.path;
  a.append(path);
  const li = document.createElement('li');
  li.append(a);
  return li;
};

const mark = () => {
  const known = titles.find(t => t.path === playing);
  const name = known ? known.name : playing;
  $('now-title').textContent = name || 'Nothing is playing';
  document.title = name ? `${name} · shoal` : 'shoal';
  for (const a of $('titles').querySelectorAll('a')) {
    if (playing && a.dataset.path === playing) a.setAttribute('aria-current', 'true');
    else a.removeAttribute('aria-current');
  }
};

const draw = () => {
  const list = $('titles');
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.path : null;
  list.replaceChildren(...titles.map(link));
  if (focused !== null) for (const a of list.querySelectorAll('a')) if (a.dataset.path === focused) a.focus();
  $('titles-empty').hidden = titles.length > 0;
  mark();
};

// nowPlaying shows which title it is; an empty path is none.
export const nowPlaying = path => {
  playing = readable(path);
  mark();
};

export const loadTitles = async () => {
  try {
    const r = await fetch('/api/titles', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    const fresh = (await r.json()).titles;
    if (JSON.stringify(fresh) === JSON.stringify(titles)) return;
    titles = fresh;
    draw();
  } catch {
    // the dashboard says that the node is away
  }
};
