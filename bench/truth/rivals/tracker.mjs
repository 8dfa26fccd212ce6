// A WebTorrent tracker on the address of the arguments. Announces as rarely as
// the tracker's own default says.
import Server from 'bittorrent-tracker/server'

const [host, port] = process.argv.slice(2)
const server = new Server({ http: false, udp: false, ws: true, stats: false })
server.on('error', (err) => { console.error(err); process.exit(1) })
server.on('warning', (err) => console.error(err.message))
server.ws.on('listening', () => console.log(`ws://${host}:${port}`))
server.listen(Number(port), host)
