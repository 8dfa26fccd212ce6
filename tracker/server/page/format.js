// Numbers and names as people read them. A dash stands for what is not known.

export const bytes = n => {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} MB`;
  if (n < 1e12) return `${(n / 1e9).toFixed(2)} GB`;
  return `${(n / 1e12).toFixed(2)} TB`;
};

// Never rounds something to nothing, nor almost all to all.
export const percent = v => {
  const p = v * 100;
  if (p > 0 && p < 1) return '< 1 %';
  if (p > 99 && p < 100) return '> 99 %';
  return `${Math.round(p)} %`;
};

export const duration = s => {
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} days`;
};

const countries = (() => {
  try {
    return new Intl.DisplayNames(['en'], { type: 'region' });
  } catch {
    return { of: code => code };
  }
})();

// region turns "DE-BY" into "Germany, BY".
export const region = code => {
  const match = /^([A-Z]{2})(?:-(\w{1,3}))?$/.exec(code);
  if (!match) return code;
  let name = match[1];
  try {
    name = countries.of(match[1]) || name;
  } catch {
    // an unassigned code stays as it is
  }
  return match[2] ? `${name}, ${match[2]}` : name;
};

export const titleName = t => t.name || `${t.id.slice(0, 8)}…`;

const formats = { bytes, percent, duration };

export const format = (name, value) => {
  if (value === undefined || value === null) return '–';
  if (name) return formats[name](value);
  return typeof value === 'number' ? value.toLocaleString('en') : String(value);
};

// pick follows a dotted path into an object.
export const pick = (object, path) => path.split('.').reduce((o, key) => (o === undefined || o === null ? undefined : o[key]), object);

// The order and the words of the reasons for CDN bytes.
export const reasons = [
  ['startup', 'Start-up and seeks', 'the viewer waited for a picture'],
  ['first_copy', 'First copies', 'nobody in the swarm had it yet'],
  ['rescue', 'Rescues', 'the deadline would have been missed'],
  ['hash_failure', 'Failed hashes', 'a peer sent wrong bytes'],
  ['other', 'Other', 'reasons of a newer version'],
];
