// The chart of bytes by source: Mbit/s over the last two minutes, stacked, with
// what is sent to peers as a line.

const spanS = 120;
const smoothS = 3; // pieces are verified in bursts
const keys = ['p2p', 'cdn', 'cache', 'served'];

// Rates turns counters into rates. It keeps two minutes of samples.
export class Rates {
  #samples = []; // {t: seconds, p2p, cdn, cache, served: bytes}

  add(t, bytes) {
    const last = this.#samples.at(-1);
    if (last && (t <= last.t || keys.some(k => bytes[k] < last[k]))) {
      if (t <= last.t) return;
      this.#samples = []; // another run of the node
    }
    this.#samples.push({ t, ...Object.fromEntries(keys.map(k => [k, bytes[k]])) });
    const from = t - spanS - smoothS - 2;
    while (this.#samples.length > 2 && this.#samples[1].t < from) this.#samples.shift();
  }

  // grown returns the bytes of the last seconds by source.
  grown(seconds) {
    const last = this.#samples.at(-1);
    if (!last) return null;
    const first = this.#since(this.#samples.length - 1, seconds);
    return Object.fromEntries(keys.map(k => [k, last[k] - first[k]]));
  }

  // now returns the rates in bytes per second.
  now() {
    const n = this.#samples.length;
    return n < 2 ? null : this.#rate(n - 1);
  }

  // series returns the columns for the chart, in Mbit/s, stacked.
  series() {
    const out = [[], [], [], [], []];
    for (let i = 1; i < this.#samples.length; i++) {
      const r = this.#rate(i);
      const [p2p, cdn, cache, served] = keys.map(k => r[k] * 8 / 1e6);
      out[0].push(this.#samples[i].t);
      out[1].push(p2p + cdn + cache);
      out[2].push(p2p + cdn);
      out[3].push(p2p);
      out[4].push(served);
    }
    return out;
  }

  #since(i, seconds) {
    const from = this.#samples[i].t - seconds;
    let j = i;
    while (j > 0 && this.#samples[j - 1].t >= from - 0.05) j--;
    return this.#samples[j];
  }

  #rate(i) {
    const last = this.#samples[i];
    let first = this.#since(i, smoothS);
    if (first === last) first = this.#samples[i - 1];
    return Object.fromEntries(keys.map(k => [k, (last[k] - first[k]) / (last.t - first.t)]));
  }
}

const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// stripes fills the CDN's area, so that it is told apart without colours.
const stripes = (ctx, base, gap) => {
  const tile = document.createElement('canvas');
  const size = Math.max(8, Math.round(8 * devicePixelRatio));
  tile.width = tile.height = size;
  const c = tile.getContext('2d');
  c.fillStyle = base;
  c.fillRect(0, 0, size, size);
  c.strokeStyle = gap;
  c.lineWidth = size / 4;
  c.beginPath();
  for (const d of [-size, 0, size]) {
    c.moveTo(d - 2, size + 2);
    c.lineTo(d + size + 2, -2);
  }
  c.stroke();
  return ctx.createPattern(tile, 'repeat');
};

export class Chart {
  #box;
  #plot = null;
  #data = [[], [], [], [], []];

  constructor(box) {
    this.#box = box;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#build());
    new ResizeObserver(() => this.#resize()).observe(box);
    this.#build();
  }

  draw(data) {
    this.#data = data;
    if (this.#plot && !document.hidden) this.#plot.setData(data);
  }

  #size() {
    return { width: Math.max(200, Math.floor(this.#box.clientWidth)), height: Math.max(120, Math.floor(this.#box.clientHeight)) };
  }

  #resize() {
    const { width, height } = this.#size();
    if (this.#plot && (this.#plot.width !== width || this.#plot.height !== height)) this.#plot.setSize({ width, height });
  }

  #build() {
    if (!window.uPlot) return;
    if (this.#plot) this.#plot.destroy();
    const quiet = color('quiet');
    const axis = { stroke: quiet, font: '12px system-ui, sans-serif', ticks: { show: false } };
    const area = (name, fill) => ({ label: name, stroke: color(name), width: 1, fill: fill || color(name), points: { show: false } });
    const now = () => this.#data[0].at(-1) ?? Date.now() / 1000;
    this.#plot = new uPlot({
      ...this.#size(),
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, range: () => [now() - spanS, now()] },
        y: { range: (_, __, max) => [0, Math.max(1, (max || 0) * 1.1)] },
      },
      axes: [
        {
          ...axis, size: 26, gap: 4, grid: { show: false },
          splits: () => [120, 90, 60, 30, 0].map(s => now() - s),
          values: (_, splits) => splits.map(t => {
            const s = Math.round(now() - t);
            return s === 0 ? 'now' : s % 60 === 0 ? `−${s / 60} min` : `−${s} s`;
          }),
        },
        {
          ...axis, size: 38, gap: 4, grid: { stroke: color('line'), width: 1 }, space: 34,
          values: (_, splits) => splits.map(v => (v < 10 && v % 1 ? v.toFixed(1) : String(v))),
        },
      ],
      series: [
        {},
        area('cache'),
        area('cdn', u => stripes(u.ctx, color('cdn'), color('surface'))),
        area('p2p'),
        { label: 'served', stroke: color('served'), width: 2, dash: [6, 4], points: { show: false } },
      ],
    }, this.#data, this.#box);
  }
}
