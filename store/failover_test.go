package store_test

import (
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// The primary dies, or goes without a word, and the standby takes its place. Whatever was confirmed holds
// there: nobody is told no who is signed in, nobody comes back who has signed out, the processes answer by
// themselves again, and hear of each other's sign-outs, without a restart.
func TestPostgresFailover(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*storetest.PostgresServer) (end func()){
		"ST-07/the primary is killed": func(p *storetest.PostgresServer) func() { p.Crash(); return p.Stop },
		"ST-07/the primary is frozen": func(p *storetest.PostgresServer) func() { p.Freeze(); return p.Thaw },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := storetest.Replicated(t)
			s, other := open(t, store.Options{Database: pair.URL}), open(t, store.Options{Database: pair.URL})
			people := peopleAt(t, s, replicaOf(t, s, "", nil), replicaOf(t, other, "", nil))
			leave := people.come(t)
			people.more(t, 20)
			t.Cleanup(fail(pair.Primary))
			time.Sleep(time.Second) // nobody notices at once
			pair.Promote()
			people.more(t, 20)
			for _, r := range people.replicas {
				waitFor(t, "it is kept again", func() bool { return r.kept(t, people.first.Key) })
			}
			people.rings(t, pair.Standby.URL)
			leave()
		})
	}
}

// rings waits until the new primary's notifications are heard: until as many connections listen there as
// there are replicas.
func (p *people) rings(t *testing.T, url string) {
	t.Helper()
	const listening = `pg_stat_activity WHERE application_name = 'gatehouse' AND query IN ('LISTEN gatehouse', '-- ping')`
	b := bench{hand: hand(t, "pgx", url)}
	waitFor(t, "all listen to the new primary", func() bool { return b.count(t, listening) == len(p.replicas) })
}
