package web_test

import (
	"net/netip"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestTurns(t *testing.T) {
	turns := web.NewTurns[netip.Prefix](3, 2)
	take := func(client string) bool { return turns.Take(web.Network(netip.MustParseAddr(client))) }
	give := func(client string) { turns.Give(web.Network(netip.MustParseAddr(client))) }
	if !take("2001:db8::1") || !take("2001:db8::2") { // one /64: one client
		t.Fatal("RULE-30: two turns of one client")
	}
	if take("2001:db8::3") {
		t.Error("RULE-30: a third turn of one client passes")
	}
	if !take("192.0.2.1") {
		t.Error("RULE-30: another client is held up")
	}
	if take("192.0.2.2") {
		t.Error("RULE-30: a fourth turn in all passes")
	}
	give("2001:db8::2")
	if nobody := web.Network(netip.Addr{}); !turns.Take(nobody) { // a unix socket: nobody knows who
		t.Error("RULE-30: no address")
	} else {
		turns.Give(nobody)
	}
	give("2001:db8::1")
	give("::ffff:192.0.2.1")
	if in, holders := turns.Held(); in != 0 || holders != 0 {
		t.Errorf("left behind: %d turns of %d", in, holders)
	}
}
