-- Users, sessions, and the revocations that tell every replica what its caches must forget.
-- Revocations are written by triggers, in the transaction that made them necessary, so that a
-- logout, the command line and a DELETE by hand all count.

CREATE TABLE install (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id       text NOT NULL
);
INSERT INTO install (id) VALUES (gen_random_uuid()::text);

CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL,
    issuer     text,
    subject    text,
    name       text NOT NULL DEFAULT '',
    picture    text NOT NULL DEFAULT '',
    roles      text NOT NULL DEFAULT '' CHECK (roles ~ '^([a-z0-9._:-]+(,[a-z0-9._:-]+)*)?$'),
    disabled   boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_login timestamptz
);
-- The collation "C" folds ASCII letters alone, whatever the locale of the database: in others a
-- Kelvin sign becomes a k, and two addresses become one person.
CREATE UNIQUE INDEX users_email ON users (lower(email COLLATE "C"));
CREATE UNIQUE INDEX users_account ON users (issuer, subject);

CREATE TABLE sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE,
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    ip         text NOT NULL DEFAULT '',
    user_agent text NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- xact orders the rows as the feed must read them: a transaction that commits late has an old id and
-- an old time, but its number is not below the oldest one that was under way.
CREATE TABLE revocations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact       xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX revocations_xact ON revocations (xact);
CREATE INDEX revocations_at ON revocations (at);

-- A session that was over anyway needs no revocation. The five minutes are for clocks that disagree:
-- it is the gateways' clocks that decide, and a cached copy must not live on by this one's haste.
CREATE FUNCTION gate_sessions_ended() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO revocations (token_hash)
        SELECT token_hash FROM gone WHERE least(expires_at, ends_at) > now() - interval '5 minutes';
    IF FOUND THEN PERFORM pg_notify('gatehouse', ''); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER gate_sessions_ended AFTER DELETE ON sessions
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION gate_sessions_ended();

CREATE FUNCTION gate_sessions_truncated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO revocations (token_hash)
        SELECT token_hash FROM sessions WHERE least(expires_at, ends_at) > now() - interval '5 minutes';
    IF FOUND THEN PERFORM pg_notify('gatehouse', ''); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER gate_sessions_truncated BEFORE TRUNCATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION gate_sessions_truncated();

-- A slide moves the idle end on, which no cache needs to hear; any other change it does.
CREATE FUNCTION gate_session_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO revocations (token_hash) VALUES (OLD.token_hash);
    PERFORM pg_notify('gatehouse', '');
    RETURN NULL;
END $$;
CREATE TRIGGER gate_session_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (NEW.expires_at < OLD.expires_at OR NEW.ends_at < OLD.ends_at
          OR NEW.user_id <> OLD.user_id OR NEW.token_hash <> OLD.token_hash)
    EXECUTE FUNCTION gate_session_changed();

-- A disabled user's sessions end; any other change makes caches ask again.
CREATE FUNCTION gate_users_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM sessions USING fresh, stale
        WHERE sessions.user_id = fresh.id AND stale.id = fresh.id AND fresh.disabled AND NOT stale.disabled;
    INSERT INTO revocations (token_hash)
        SELECT s.token_hash FROM sessions s JOIN fresh ON fresh.id = s.user_id JOIN stale ON stale.id = fresh.id
        WHERE (fresh.email, fresh.name, fresh.picture, fresh.roles) IS DISTINCT FROM (stale.email, stale.name, stale.picture, stale.roles)
          AND least(s.expires_at, s.ends_at) > now() - interval '5 minutes';
    IF FOUND THEN PERFORM pg_notify('gatehouse', ''); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER gate_users_changed AFTER UPDATE ON users
    REFERENCING OLD TABLE AS stale NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION gate_users_changed();
