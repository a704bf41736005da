package store

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// newClient picks the kind of client by the scheme. Errors never show the address, which may hold a
// password (RULE-29).
func newClient(url string) (redis.UniversalClient, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	transport, kind, _ := strings.Cut(scheme, "+")
	switch {
	case kind == "" && (transport == "redis" || transport == "rediss" || transport == "unix"):
		if o, err := redis.ParseURL(url); err == nil {
			return redis.NewClient(brisk(o)), nil
		}
	case kind == "sentinel" && (transport == "redis" || transport == "rediss"):
		if o, err := parseSentinel(transport + "://" + rest); err == nil && o.MasterName != "" {
			return redis.NewFailoverClient(briskFailover(o)), nil
		}
	case kind == "cluster" && (transport == "redis" || transport == "rediss"):
		if o, err := redis.ParseClusterURL(transport + "://" + rest); err == nil {
			return redis.NewClusterClient(briskCluster(o)), nil
		}
	default:
		return nil, errors.New("store.redis: must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (or rediss+…)")
	}
	return nil, errors.New("store.redis: not a valid address; it looks like redis://user:password@host:6379/0, with sentinel and ?master_name=NAME&addr=HOST:PORT")
}

// parseSentinel reads the address of sentinels. User and password in front of the host are the ones
// of Redis itself, as in every other kind of address; go-redis would offer them to the sentinels and
// come to Redis without any. Who has sentinels that ask writes theirs there, and username= and
// password= for Redis.
func parseSentinel(address string) (*redis.FailoverOptions, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if q := u.Query(); u.User != nil && !q.Has("password") {
		password, _ := u.User.Password()
		q.Set("username", u.User.Username())
		q.Set("password", password)
		u.User, u.RawQuery = nil, q.Encode()
	}
	return redis.ParseFailoverURL(u.String())
}

// brisk sets what a cache on the path of every request needs, and what go-redis leaves off: deadlines
// of contexts are obeyed, waits are short, one retry, and no maintenance notifications, whose
// handshake some servers and proxies answer badly.
func brisk(o *redis.Options) *redis.Options {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = connectLimit, waitLimit, waitLimit, callLimit
	o.MaxRetries, o.DialerRetries, o.MaxRetryBackoff = 1, 1, 10*time.Millisecond
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}

func briskFailover(o *redis.FailoverOptions) *redis.FailoverOptions {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = connectLimit, waitLimit, waitLimit, callLimit
	o.MaxRetries, o.DialerRetries, o.MaxRetryBackoff = 1, 1, 10*time.Millisecond
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.ReplicaOnly, o.RouteByLatency, o.RouteRandomly = false, false, false // a replica may not have the tombstone yet
	return o
}

func briskCluster(o *redis.ClusterOptions) *redis.ClusterOptions {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = connectLimit, waitLimit, waitLimit, callLimit
	o.MaxRedirects, o.DialerRetries, o.MaxRetryBackoff = 2, 1, 10*time.Millisecond
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}
