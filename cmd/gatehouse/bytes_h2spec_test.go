package main

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// departures are the cases of h2spec that net/http decides otherwise, by section and text. Each of the
// three refuses as well, in another way.
var departures = map[string]string{
	"6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "a SETTINGS frame that says a thing twice ends the connection (golang/go#56760)",
	"8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                       "answered with a 400, as RFC 9113 allows in section 8.1.1, and not with a reset (golang/go#26321)",
	"8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "likewise",
}

// suite is a section of h2spec's report.
type suite struct {
	ID    string `xml:"id,attr"`
	Tests []struct {
		What    string    `xml:"classname,attr"`
		Failure *struct{} `xml:"failure"`
		Error   *struct{} `xml:"error"`
	} `xml:"testcase"`
}

// TestH2Spec runs h2spec (test/ci/install.sh has its version), the conformance suite of HTTP/2, against
// the listener with TLS. A departure that is gone fails as well, so that the list stays true.
func TestH2Spec(t *testing.T) {
	r := newRig(t)
	(&frontRig{rig: r}).certificates(r.dir)
	r.answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "h2spec waits for a body of some length") })
	r.edit("server: {", fmt.Sprintf("server: {tls: {cert_file: \"%[1]s/%[2]s.crt\", key_file: \"%[1]s/%[2]s.key\"}, ", r.dir, wiki))
	r.edit("drain_delay: 100ms", "drain_delay: 0s")
	r.edit(fmt.Sprintf("upstream: %q}", r.app.URL), fmt.Sprintf("upstream: %q, public: true}", r.app.URL))
	r.start()
	report := filepath.Join(r.dir, "h2spec.xml")
	_, port, _ := net.SplitHostPort(r.host())
	out, err := exec.CommandContext(t.Context(), "h2spec", "--tls", "--insecure", "--host", "localhost", "--port", port, "--timeout", "5", "--junit-report", report).CombinedOutput()
	text, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("h2spec: %v, %v\n%s", err, readErr, out)
	}
	var all struct {
		Suites []suite `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	left, ran := maps.Clone(departures), 0
	for _, section := range all.Suites {
		ran += len(section.Tests)
		for _, one := range section.Tests {
			name := section.ID + " " + one.What
			if one.Failure == nil && one.Error == nil {
				continue
			}
			if _, known := left[name]; !known {
				t.Errorf("%s failed:\n%s", name, out)
			}
			delete(left, name)
		}
	}
	if ran < 140 || len(left) > 0 {
		t.Errorf("%d cases ran, and of the known departures there are no more: %q", ran, slices.Sorted(maps.Keys(left)))
	}
}
