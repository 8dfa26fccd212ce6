// The viewer: chooses a title, plays it through the node, and measures what the
// person sees. Its state is window.shoalViewer, for tests and for the curious.

import { format } from './format.js';
import { askNode, locate } from './place.js';
import * as say from './sentences.js';
import { loadTitles, nowPlaying } from './titles.js';

const $ = id => document.getElementById(id);
const video = $('video');

const randomID = () => {
  if (crypto.randomUUID) return crypto.randomUUID(); // secure contexts only
  const b = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(b, x => x.toString(16).padStart(2, '0')).join('');
};

const sessionId = randomID();

// states: idle, loading, ready (waits for a press on play), playing, paused,
// seeking, stalled, ended, lost (the node is away), error
export const view = {
  state: 'idle',
  path: '',
  engine: '', // hls.js, native or video
  firstFrameMs: null,
  stalls: 0,
  stalledMs: 0,
  stallLog: [], // the last ones: {atS, bufferS, ms}; with a full buffer the machine was too slow
  positionS: 0,
  durationS: 0,
  bufferS: 0,
  level: -1,
  auto: true,
  levels: [],
  droppedFrames: 0,
  error: '',
  sessionId,
  viewerId: `sid:${sessionId}`,
};
window.shoalViewer = view;

let hls = null;
let run = 0; // number of the present attempt; what belongs to an older one is ignored
let beganAt = 0;
let stalledAt = 0;
let seeking = false;
let started = false; // the picture has moved since the title was chosen
let codecs = '';
let recoveredAt = -Infinity;
let lost = false;
let retryTimer = 0;

// ---- what the person sees

const setState = state => {
  view.state = state;
  document.body.dataset.state = state;
};

const showError = (sentence, canRetry = true) => {
  view.error = sentence;
  if ($('error-text').textContent !== sentence) $('error-text').textContent = sentence;
  $('retry').hidden = !canRetry;
  $('error').hidden = false;
};

const clearError = () => {
  view.error = '';
  $('error').hidden = true;
  $('error-text').textContent = '';
};

// empty covers the picture where there is none.
const empty = text => {
  $('stage-empty').textContent = text;
  $('stage-empty').hidden = !text;
};

const notice = text => {
  $('notice').textContent = text;
  $('notice').hidden = !text;
};

const put = (name, value, text) => {
  const el = document.querySelector(`[data-view="${name}"]`);
  el.dataset.value = value === null ? '' : String(value);
  if (el.textContent !== text) el.textContent = text;
};

const levelName = l => (l.height ? `${l.height}p` : l.name || `${Math.round(l.bitrate / 1000)} kbit/s`);

const showStats = () => {
  view.positionS = video.currentTime;
  view.durationS = Number.isFinite(video.duration) ? video.duration : 0;
  view.bufferS = bufferAhead();
  view.droppedFrames = video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality().droppedVideoFrames : 0;
  put('firstFrameMs', view.firstFrameMs, view.firstFrameMs === null ? '–' : `${view.firstFrameMs} ms`);
  const stalled = view.stalledMs + (stalledAt ? performance.now() - stalledAt : 0);
  put('stalls', view.stalls, view.stalls ? `${view.stalls} (${(stalled / 1000).toFixed(1)} s)` : '0');
  put('bufferS', view.bufferS, view.path ? format('seconds', view.bufferS) : '–');
  const l = view.levels[view.level];
  const size = video.videoHeight ? `${video.videoHeight}p` : '–';
  put('level', view.level, l ? levelName(l) : size);
  put('droppedFrames', view.droppedFrames, String(view.droppedFrames));
};

const bufferAhead = () => {
  const t = video.currentTime;
  for (let i = 0; i < video.buffered.length; i++) {
    if (video.buffered.start(i) <= t + 0.1 && video.buffered.end(i) > t) return Math.round((video.buffered.end(i) - t) * 1000) / 1000;
  }
  return 0;
};

const showLevels = () => {
  const select = $('quality');
  select.replaceChildren();
  const add = (value, text) => select.append(new Option(text, value));
  if (!hls || view.levels.length < 2) {
    add('-1', 'One quality');
    select.disabled = true;
    return;
  }
  const l = view.levels[view.level];
  add('-1', view.auto && l ? `Auto (${levelName(l)})` : 'Auto');
  for (const level of [...view.levels].sort((a, b) => b.bitrate - a.bitrate)) {
    add(String(level.index), `${levelName(level)}, ${(level.bitrate / 1e6).toFixed(1)} Mbit/s`);
  }
  select.value = view.auto ? '-1' : String(hls.manualLevel);
  select.disabled = false;
};

// ---- playing

const stop = () => {
  run++;
  clearTimeout(retryTimer);
  if (hls) {
    hls.destroy();
    hls = null;
  }
  if (video.getAttribute('src')) {
    video.removeAttribute('src');
    video.load();
  }
};

const play = (input, at = -1) => {
  stop();
  clearError();
  notice('');
  Object.assign(view, {
    path: '', engine: '', firstFrameMs: null, stalls: 0, stalledMs: 0, stallLog: [], level: -1, auto: true, levels: [],
  });
  stalledAt = 0;
  seeking = false;
  started = false;
  lost = false;
  codecs = '';
  beganAt = performance.now();
  const place = locate(input);
  if (place.error) {
    nowPlaying('');
    fail(place.error, false);
    return;
  }
  view.path = place.path;
  empty('');
  if (document.activeElement !== $('path')) $('path').value = place.path;
  nowPlaying(place.path);
  setState('loading');
  watchFirstFrame(run);
  const name = place.path.replace(/[?#].*/, '').toLowerCase();
  if (name.endsWith('.mpd')) {
    fail(say.dash, false);
  } else if (/\.(mp4|m4v|mov|webm)$/.test(name)) {
    playFile(place, 'video', at);
  } else if (window.Hls && Hls.isSupported()) {
    playHLS(place, at);
  } else if (video.canPlayType('application/vnd.apple.mpegurl')) {
    playFile(place, 'native', at);
  } else {
    fail(say.noMedia, false);
  }
  showLevels();
  showStats();
};

const fail = (sentence, canRetry = true) => {
  setState('error');
  if (view.firstFrameMs === null) empty('No picture. The reason is below.');
  showError(sentence, canRetry);
};

const begin = () => {
  const mine = run;
  video.play().catch(err => {
    if (mine !== run || err.name !== 'NotAllowedError') return;
    setState('ready');
    notice('Press play: the browser waits for you before it makes sound.');
  });
};

// playFile lets the browser itself read an MP4, or HLS where it can.
const playFile = (place, engine, at) => {
  view.engine = engine;
  video.src = place.url;
  if (at > 0) video.currentTime = at;
  begin();
};

const playHLS = (place, at) => {
  const mine = run;
  view.engine = 'hls.js';
  hls = new Hls({
    startPosition: at,
    maxBufferLength: 30,
    maxMaxBufferLength: 30, // without it, hls.js takes the former for the least
    backBufferLength: 60,
    cmcd: { sessionId, contentId: place.name.slice(-64), useHeaders: false },
  });
  hls.on(Hls.Events.MANIFEST_LOADED, (_, data) => {
    codecs = [...new Set(data.levels.map(l => l.attrs && l.attrs.CODECS).filter(Boolean))].join('; ');
  });
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    view.levels = hls.levels.map((l, index) => ({ index, width: l.width, height: l.height, bitrate: l.bitrate, name: l.name || '' }));
    showLevels();
    begin();
  });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => {
    view.level = data.level;
    showLevels();
  });
  hls.on(Hls.Events.ERROR, (_, data) => mine === run && onHLSError(place, data));
  hls.loadSource(place.url);
  hls.attachMedia(video);
};

const onHLSError = async (place, data) => {
  const mine = run;
  const status = data.response ? data.response.code : 0;
  if (data.type === Hls.ErrorTypes.NETWORK_ERROR && !status && !(await nodeAnswers())) {
    if (mine === run) onNodeLost();
    return;
  }
  if (mine !== run || !data.fatal) return;
  switch (data.details) {
    case Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR:
    case Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR:
    case Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR:
      stop();
      fail(say.codec(codecs), false);
      return;
    case Hls.ErrorDetails.MANIFEST_PARSING_ERROR:
    case Hls.ErrorDetails.LEVEL_EMPTY_ERROR:
      fail(say.notPlaylist(place.name));
      return;
  }
  if (data.type === Hls.ErrorTypes.KEY_SYSTEM_ERROR) {
    fail(say.protectedTitle, false);
    return;
  }
  if (data.type === Hls.ErrorTypes.MEDIA_ERROR) {
    if (performance.now() - recoveredAt > 5000) {
      recoveredAt = performance.now();
      hls.recoverMediaError();
      return;
    }
    fail(say.broken(data.details));
    return;
  }
  onAnswer(place, status, whatNodeSaid(data, status));
};

// whatNodeSaid reads the body of a failed answer.
const whatNodeSaid = (data, status) => {
  const xhr = data.networkDetails;
  if (!xhr || !xhr.getResponseHeader) return '';
  let body = '';
  try {
    body = typeof xhr.response === 'string' ? xhr.response : new TextDecoder().decode(xhr.response);
  } catch {
    return ''; // the answer had no body
  }
  return say.nodeSays(name => xhr.getResponseHeader(name), body, status);
};

// onAnswer explains a status that ended playback, and tries again where a
// second try can help.
const onAnswer = (place, status, said) => {
  const temporary = status === 0 || status === 429 || status >= 500;
  fail(status ? say.ofStatus(status, place.name, said) : said || 'The CDN and the peers take too long to answer. The page tries again by itself.');
  if (!temporary) return;
  const mine = run;
  retryTimer = setTimeout(() => mine === run && resume(), 4000);
};

// resume goes on where the picture is.
const resume = () => {
  const at = video.currentTime;
  if (hls && view.levels.length) {
    hls.startLoad(at);
    if (video.error) hls.recoverMediaError();
    watchRecovery();
  } else {
    play(view.path, at);
  }
};

// watchRecovery takes the error away once there is something to play again.
const watchRecovery = () => {
  const mine = run;
  const before = bufferAhead();
  const done = () => {
    if (mine !== run) return;
    clearError();
    if (view.state === 'error' || view.state === 'lost') setState(video.paused ? 'paused' : 'playing');
  };
  hls.once(Hls.Events.FRAG_BUFFERED, done);
  if (before > 10) done();
};

const nodeAnswers = async () => {
  try {
    const r = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(2000) });
    return r.ok;
  } catch {
    return false;
  }
};

// onNodeLost waits for the node; what is in the buffer plays meanwhile.
const onNodeLost = async () => {
  if (lost || !view.path) return;
  lost = true;
  const mine = run;
  clearTimeout(retryTimer);
  while (mine === run) {
    setState('lost');
    showError(say.nodeLost(bufferAhead()), false);
    await new Promise(done => setTimeout(done, 1000));
    if (mine !== run) return;
    if (await nodeAnswers()) break;
  }
  if (mine !== run) return;
  lost = false;
  resume();
};

// A file that the browser reads by itself fails without a reason: ask for it.
const onVideoError = async () => {
  if (hls || !view.path || !video.error) return;
  const mine = run;
  const place = locate(view.path);
  let r;
  try {
    r = await fetch(place.url, { headers: { Range: 'bytes=0-511' }, cache: 'no-store', signal: AbortSignal.timeout(5000) });
  } catch {
    if (mine !== run) return;
    if (await nodeAnswers()) onAnswer(place, 0, '');
    else onNodeLost();
    return;
  }
  const body = r.ok ? '' : await r.text().catch(() => '');
  if (mine !== run) return;
  if (!r.ok) onAnswer(place, r.status, say.nodeSays(name => r.headers.get(name), body, r.status));
  else if (video.error && video.error.code === MediaError.MEDIA_ERR_NETWORK) resume();
  else if (view.firstFrameMs !== null) fail(say.broken(video.error ? video.error.message : ''));
  else fail(say.codec(''), false);
};

// ---- measuring

const firstFrame = (mine, now) => {
  if (mine !== run || view.firstFrameMs !== null) return;
  view.firstFrameMs = Math.round(now - beganAt);
  if (video.paused && view.state === 'loading') setState('ready');
  showStats();
};

const tellsFrames = 'requestVideoFrameCallback' in video;

const watchFirstFrame = mine => {
  if (tellsFrames) video.requestVideoFrameCallback(now => firstFrame(mine, now));
};

const endStall = () => {
  if (!stalledAt) return;
  const ms = Math.round(performance.now() - stalledAt);
  view.stalledMs += ms;
  view.stallLog.at(-1).ms = ms;
  stalledAt = 0;
};

const listeners = {
  loadeddata() {
    if (!tellsFrames) firstFrame(run, performance.now());
  },
  playing() {
    endStall();
    seeking = false;
    started = true;
    notice('');
    if (view.state !== 'lost' && view.state !== 'error') setState('playing');
  },
  waiting() {
    if (!started || view.firstFrameMs === null || video.paused || video.ended) return;
    if (seeking || video.seeking) {
      if (view.state === 'playing') setState('seeking');
      return;
    }
    if (stalledAt) return;
    stalledAt = performance.now();
    view.stalls++;
    view.stallLog = [...view.stallLog.slice(-7), { atS: video.currentTime, bufferS: bufferAhead(), ms: 0 }];
    if (view.state === 'playing') setState('stalled');
    showStats();
  },
  timeupdate() {
    // No frame is presented in a hidden tab, but time goes on.
    if (document.hidden && video.currentTime > 0 && !seeking) firstFrame(run, performance.now());
    if (stalledAt && !video.paused && video.readyState > 2) {
      endStall();
      if (view.state === 'stalled') setState('playing');
    }
  },
  seeking() {
    seeking = true;
    endStall();
  },
  seeked() {
    if (video.readyState > 2) seeking = false;
    if (view.state === 'seeking') setState(video.paused ? 'paused' : 'playing');
  },
  canplay() {
    if (video.paused) seeking = false;
  },
  pause() {
    endStall();
    if (view.path && !video.ended && view.firstFrameMs !== null && view.state !== 'lost' && view.state !== 'error') setState('paused');
  },
  ended() {
    endStall();
    setState('ended');
  },
  error: onVideoError,
};
for (const [name, f] of Object.entries(listeners)) video.addEventListener(name, f);

// ---- events of the page

const showNode = async () => {
  const hint = await askNode();
  if (hint) $('path-hint').textContent = hint;
};

const fromHash = () => {
  const path = location.hash.slice(1);
  if (path) play(path);
};

addEventListener('hashchange', fromHash);
$('titles').addEventListener('click', e => {
  const a = e.target.closest('a');
  if (a && a.hash === location.hash) { // no hashchange: play it again
    e.preventDefault();
    fromHash();
  }
});
$('open').addEventListener('submit', e => {
  e.preventDefault();
  const place = locate($('path').value);
  if (place.error) {
    stop();
    Object.assign(view, { path: '', firstFrameMs: null });
    nowPlaying('');
    fail(place.error, false);
    $('path').focus();
    return;
  }
  const hash = `#${place.path}`;
  if (location.hash === hash) fromHash();
  else location.hash = hash;
});
$('quality').addEventListener('change', e => {
  if (!hls) return;
  const level = Number(e.target.value);
  view.auto = level < 0;
  hls.nextLevel = level;
  showLevels();
});
$('retry').addEventListener('click', () => play(view.path, video.currentTime));
addEventListener('shoal:link', async e => {
  if (e.detail === 'live') {
    loadTitles();
    showNode();
  } else if (e.detail === 'lost' && !lost && view.path && view.state !== 'ended' && !(await nodeAnswers())) {
    onNodeLost();
  }
});
setInterval(showStats, 250);
setInterval(loadTitles, 5000);

loadTitles();
showNode().then(() => view.path || fromHash()); // a title chosen meanwhile plays already
