package main

import (
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed demoapp.html
var demoPage string

// demoApp stands for the legacy app behind the gateway: it knows nothing of signing in, and shows
// what it was told. It listens on loopback, and whoever reaches it past the gateway gets no more
// than the same page without a name on it.
type demoApp struct {
	page *template.Template
}

func newDemoApp() demoApp {
	return demoApp{page: template.Must(template.New("demo").Parse(demoPage))}
}

// demoView is what the page shows.
type demoView struct {
	Name    string
	Method  string
	Target  string
	Note    string // what the form sent
	Headers []demoHeader
	Logout  string
}

type demoHeader struct{ Name, Value string }

func (a demoApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	view := demoView{
		Name:   r.Header.Get("X-Auth-Request-Name"),
		Method: r.Method,
		Target: r.RequestURI,
		Logout: "/_gate/logout",
	}
	if view.Name == "" {
		view.Name = r.Header.Get("X-Auth-Request-Email")
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		view.Note = r.PostFormValue("note")
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Auth-Request-") {
			view.Headers = append(view.Headers, demoHeader{name, strings.Join(values, ", ")})
		}
	}
	slices.SortFunc(view.Headers, func(a, b demoHeader) int { return strings.Compare(a.Name, b.Name) })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'")
	_ = a.page.Execute(w, view)
}
