// shoal.js, Apache-2.0, docs/players.md
// Plays through the viewer's shoal node, or from the CDN. Never throws.
export default async function shoal(url, {node = 'http://127.0.0.1:7070', timeout = 300, onchange} = {}) {
  let home, origin, timer
  const videos = new Set()

  // The node's prefix of the CDN, if for us.
  const ask = async ms => {
    try {
      const r = await fetch(home + 'api/node', {signal: AbortSignal.timeout(ms), cache: 'no-store'})
      const n = await r.json(), prefix = `${n.origin}`
      if (n.shoal === 1 && prefix.endsWith('/') && url.startsWith(prefix)) return prefix
    } catch {}
  }

  // Twice a second; twice silent (1.5 s): left
  const beat = () => timer = setTimeout(async () => {
    const alive = await ask(1e3) || await ask(500)
    if (timer) alive ? beat() : s.leave()
  }, 500)

  const s = {
    via: 'cdn',
    onchange,
    get src() { return s.route(url) },

    // Where a URL of CDN or node is to be asked now.
    route(u) {
      const [from, to] = s.via == 'node' ? [origin, home] : [home, origin]
      return to && `${u}`.startsWith(from) ? to + `${u}`.slice(from.length) : u
    },

    // For a plain <video>: sets its source, now and later.
    attach(video) {
      videos.add(video)
      video.addEventListener('error', s.leave)
      video.src = s.src
    },

    // To the CDN, for good.
    leave() {
      if (s.via == 'cdn') return
      s.via = 'cdn'
      s.stop()
      for (const v of videos) {
        const {currentTime, paused, playbackRate} = v
        v.src = s.src
        Object.assign(v, {currentTime, playbackRate})
        paused || v.play().catch(() => {})
      }
      s.onchange?.(s.via)
    },

    stop() { timer = clearTimeout(timer) } // the heartbeat
  }

  try {
    home = new URL('/', node).href
    url = new URL(url, location).href
    // Not aborted when late: a permission prompt may be open.
    origin = await Promise.race([ask(6e4), new Promise(r => setTimeout(r, timeout))])
    if (origin) s.via = 'node', beat()
  } catch {}
  return s
}
