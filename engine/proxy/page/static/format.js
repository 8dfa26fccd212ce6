// Numbers as people read them. A dash stands for what is not known.

const bytes = n => {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} MB`;
  return `${(n / 1e9).toFixed(2)} GB`;
};

const rate = bytesPerSec => {
  const bits = bytesPerSec * 8;
  if (bits < 1e3) return bits > 0 ? `${bits.toFixed(0)} bit/s` : '0';
  if (bits < 1e6) return `${(bits / 1e3).toFixed(0)} kbit/s`;
  return `${(bits / 1e6).toFixed(bits < 1e8 ? 1 : 0)} Mbit/s`;
};

export const clock = s => {
  s = Math.max(0, Math.floor(s));
  const mm = Math.floor(s / 60) % 60;
  const ss = String(s % 60).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${String(mm).padStart(2, '0')}:${ss}` : `${mm}:${ss}`;
};

const percent = v => `${(v * 100).toFixed(v > 0 && v < 0.1 ? 1 : 0)} %`;

const duration = s => {
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
};

export const formats = {
  bytes,
  rate,
  clock,
  duration,
  percent,
  saving: (v, status) => (status.bytes.p2p + status.bytes.cdn > 0 ? percent(v) : '–'),
  seconds: v => `${v.toFixed(1)} s`,
  millis: v => `${v.toFixed(v < 10 ? 1 : 0)} ms`,
  frozen: v => (v > 0 ? `${(v / 1000).toFixed(1)} s` : 'no'),
  score: v => v.toFixed(2),
  onoff: v => (v ? 'on' : 'off'),
  limit: v => (v > 0 ? `at most ${rate(v)}` : 'no limit'),
  address: v => v || 'none',
  mode: v => (v === 'disk' ? 'on disk' : v === 'memory' ? 'in memory' : ''),
  tracker: (v, status) => (v ? 'answers' : status.tracker.url ? 'does not answer' : 'none: this node finds no peers'),
  'tracker-url': v => (v ? v.replace(/#.*/, '') : ''),
};

export const format = (name, value, status) => {
  if (value === undefined || value === null) return '–';
  return name && formats[name] ? formats[name](value, status) : String(value);
};

// pick follows a dotted path into an object.
export const pick = (object, path) => path.split('.').reduce((o, key) => (o === undefined || o === null ? undefined : o[key]), object);
