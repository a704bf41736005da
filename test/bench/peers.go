package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

// peers are the servers that this program can be itself, when it is started with their name. Each
// prints its address and serves until it is ended.
var peers = map[string]func(args []string) error{
	"app":    func([]string) error { return listen(http.HandlerFunc(answerOK)) },
	"floor":  func([]string) error { return listen(http.HandlerFunc(readOneCookie)) },
	"heeder": func([]string) error { return listen(http.HandlerFunc(readWhatACheckReads)) },
	"relay": func(args []string) error {
		target, err := url.Parse(args[0])
		if err != nil {
			return err
		}
		return listen(relay(target))
	},
}

func listen(h http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens until the process ends
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "http://"+listener.Addr().String())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// answerOK is the app behind the proxies: as little as an app can do.
func answerOK(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte("hello, world\n"))
}

// readOneCookie is the floor of a session check in Go.
func readOneCookie(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie("gate"); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// readWhatACheckReads is the floor with the headers of a check: a request that says more costs net/http
// more, whoever answers it.
func readWhatACheckReads(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"X-Original-Url", "X-Original-Method", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		if r.Header.Get(name) == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
	}
	readOneCookie(w, r)
}

// relay is httputil.ReverseProxy with the settings that anybody would give it, and no question asked.
func relay(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		// wrk hangs up at the end of each round, which is no news.
		ErrorLog: log.New(io.Discard, "", 0),
		Transport: &http.Transport{
			DisableCompression:  true,
			MaxIdleConnsPerHost: 512,
			IdleConnTimeout:     55 * time.Second,
			ReadBufferSize:      64 << 10,
			WriteBufferSize:     64 << 10,
		},
	}
}
