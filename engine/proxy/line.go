package proxy

import (
	"net/http"
	"time"
)

// linePath is where a player, a call program or the operating system says that the
// uplink is needed.
const linePath = "/api/line"

// serveLine answers how much is uploaded at most, and takes user_active, a duration
// such as 90s, for which uploads leave the line to somebody; 0s takes it back.
func (p *Proxy) serveLine(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		d, err := time.ParseDuration(r.FormValue("user_active"))
		if err != nil || d < 0 {
			refuse(w, http.StatusBadRequest, "Say for how long the line is needed, at most an hour: POST "+linePath+"?user_active=90s; 0s takes it back.")
			return
		}
		p.node.userActive(d)
	}
	writeJSON(w, p.node.status().Upload)
}
