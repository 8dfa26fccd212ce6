// What went wrong, as a sentence that says what to do next.

const trim = text => text.trim().replace(/\s+/g, ' ');

// Refusals of the node are one line of plain text, made for people.
export const nodeSays = (headers, body, status) => {
  const line = trim(body || '');
  if (!line || line.length > 400 || line.startsWith('<')) return '';
  if (headers('Shoal-Refusal')) return line;
  const plain = (headers('Content-Type') || '').startsWith('text/plain');
  return plain && (status === 502 || status === 504) ? line : '';
};

// ofStatus explains an HTTP status for a path of the CDN.
export const ofStatus = (status, path, said) => {
  if (said) return status === 429 || status >= 500 ? `${said} The page tries again by itself.` : said;
  const where = path ? `“${path}”` : 'this';
  switch (true) {
    case status === 401 || status === 403:
      return `The CDN refuses ${where} (${status}): it may need a ticket or a login that only its own site gives. Open the title on that site, or ask for a fresh link.`;
    case status === 404 || status === 410:
      return `The CDN has nothing at ${where} (${status}). Check the spelling: the path is what follows the CDN's address.`;
    case status === 429:
      return 'The CDN asks to slow down (429). Wait a moment; the page tries again.';
    case status >= 500:
      return `The CDN is in trouble (${status}) and no peer has what is missing. The page tries again by itself.`;
    default:
      return `The CDN answers ${status} for ${where}; it cannot be played.`;
  }
};

export const nodeLost = bufferS => {
  const begin = 'The node does not answer any more: it was stopped, or it crashed. Start “shoal peer” again on the same address, and the picture goes on by itself.';
  return bufferS >= 2 ? `${begin} The next ${Math.floor(bufferS)} s are in the player already.` : begin;
};

export const codec = codecs =>
  `This browser cannot decode the title${codecs ? ` (${codecs})` : ''}. Try another browser, or open the same address in mpv or VLC.`;

export const noMedia = 'This browser has no Media Source Extensions and does not play HLS by itself. Try a current browser, or open the same address in mpv or VLC.';

export const dash = 'This page plays HLS and MP4. For DASH, open the same address in a DASH player: dash.js, VLC or mpv.';

export const notPlaylist = path => `What the CDN has at “${path}” is no HLS playlist. Give the path of a .m3u8 or .mp4 file.`;

export const protectedTitle = 'The title is encrypted with a DRM system, which this page does not speak. Play it on its own site.';

export const broken = detail => `The picture cannot be decoded${detail ? ` (${detail})` : ''}: the file may be damaged at this place. Seek past it, or try again.`;

export const elsewhere = origin =>
  `This node plays only from ${origin || 'the CDN it was started for'}. Give a path below it, or start another node with --origin for that site.`;

export const reserved = path => `“${path}” is a page of the node itself. Give the path of a .m3u8 or .mp4 file on the CDN.`;

export const nothing = 'Give the path of a .m3u8 or .mp4 file on the CDN, e.g. film/master.m3u8.';
