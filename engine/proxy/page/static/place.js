// Where a title is: a path below the CDN's prefix, and the URL of this node for it.

import * as say from './sentences.js';

let cdn = ''; // the CDN's prefix, from /api/node

// askNode asks the node which CDN it stands for. It returns a hint for people,
// or nothing when the node does not answer, which the dashboard tells.
export const askNode = async () => {
  if (cdn) return '';
  try {
    const r = await fetch('/api/node', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    const node = await r.json();
    cdn = node.origin;
    return cdn ? `Everything below ${cdn} plays here. shoal ${node.version}` : '';
  } catch {
    return '';
  }
};

// locate turns what a person typed into a path below the origin and a URL of
// this node, never of another host.
export const locate = input => {
  let path = input.trim();
  if (cdn && path.startsWith(cdn)) path = path.slice(cdn.length);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) return { error: say.elsewhere(cdn) };
  path = path.replace(/^[/\\]+/, '');
  if (!path) return { error: say.nothing };
  if (/^(api|_shoal)(\/|$)|^(metrics|healthz)$/.test(path)) return { error: say.reserved(path) };
  const url = new URL(`/${path}`, location.origin);
  if (url.origin !== location.origin) return { error: say.elsewhere(cdn) };
  return { path, url: url.href, name: readable(path) };
};

export const readable = path => {
  try {
    return decodeURIComponent(path.replace(/[?#].*/, ''));
  } catch {
    return path;
  }
};

export const linkOf = path => `#${path.split('/').map(encodeURIComponent).join('/')}`;
