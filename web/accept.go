package web

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// WantsHTML reports whether the client would rather have a page than JSON: its Accept header ranks
// text/html above application/json. At equal rank the one that it names wins over the one that only a
// wildcard allows (old browsers send "text/html, */*"), and JSON wins what is left: a client that
// says nothing, or */* (curl), is a program.
func WantsHTML(r *http.Request) bool {
	var page, data preference
	for _, line := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(line, ",") {
			kind, quality := mediaRange(item)
			page.consider(kind, quality, "text", "html")
			data.consider(kind, quality, "application", "json")
		}
	}
	if page.quality == data.quality {
		return page.quality > 0 && page.exactness > data.exactness
	}
	return page.quality > data.quality
}

// preference is how much a client likes one media type, by the most exact range that covers it
// (RFC 9110 section 12.5.1).
type preference struct {
	quality   float64
	exactness int // 0: not covered, 1: */*, 2: type/*, 3: type/subtype
}

func (p *preference) consider(kind string, quality float64, major, minor string) {
	exactness := map[string]int{"*/*": 1, major + "/*": 2, major + "/" + minor: 3}[kind]
	if exactness > p.exactness {
		*p = preference{quality, exactness}
	}
}

// mediaRange reads one item of an Accept header. An item that cannot be read covers nothing.
func mediaRange(item string) (kind string, quality float64) {
	kind, params, err := mime.ParseMediaType(item)
	if err != nil {
		return "", 0
	}
	q, given := params["q"]
	if !given {
		return kind, 1
	}
	quality, err = strconv.ParseFloat(q, 64)
	if err != nil || !(quality >= 0 && quality <= 1) {
		return "", 0
	}
	return kind, quality
}
