-- Users, sessions, and the revocations that tell every cache what to forget. Revocations are written
-- by triggers, in the transaction that made them necessary, so that a logout, the command line and a
-- DELETE by hand all count. Times are integers: microseconds since 1970, UTC.

CREATE TABLE install (
    only_one integer PRIMARY KEY DEFAULT 1 CHECK (only_one = 1),
    id       text NOT NULL
);
INSERT INTO install (id) VALUES (lower(hex(randomblob(16))));

-- AUTOINCREMENT, for without it SQLite gives the id of the last row to the next one once it is gone.
CREATE TABLE users (
    id         integer PRIMARY KEY AUTOINCREMENT,
    email      text NOT NULL,
    issuer     text,
    subject    text,
    name       text NOT NULL DEFAULT '',
    picture    text NOT NULL DEFAULT '',
    roles      text NOT NULL DEFAULT ''
        CHECK (roles NOT GLOB '*[^a-z0-9._:,-]*' AND roles NOT GLOB '*,,*' AND roles NOT GLOB ',*' AND roles NOT GLOB '*,'),
    disabled   integer NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at integer NOT NULL,
    last_login integer
);
-- SQLite's lower() folds ASCII letters alone, which is what is wanted.
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE UNIQUE INDEX users_account ON users (issuer, subject);

CREATE TABLE sessions (
    id         integer PRIMARY KEY AUTOINCREMENT,
    token_hash blob NOT NULL UNIQUE,
    user_id    integer NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at integer NOT NULL,
    expires_at integer NOT NULL,
    ends_at    integer NOT NULL,
    last_seen  integer NOT NULL,
    ip         text NOT NULL DEFAULT '',
    user_agent text NOT NULL DEFAULT ''
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- SQLite has one writer at a time, so the order of the ids is the order of the commits.
CREATE TABLE revocations (
    id         integer PRIMARY KEY AUTOINCREMENT,
    token_hash blob NOT NULL,
    at         integer NOT NULL
);
CREATE INDEX revocations_at ON revocations (at);

-- A session that was over anyway needs no revocation. The five minutes (300 s) are for clocks that
-- disagree: a cached copy must not live on by this one's haste.
CREATE TRIGGER gate_sessions_ended AFTER DELETE ON sessions
WHEN min(OLD.expires_at, OLD.ends_at) > (CAST(strftime('%s', 'now') AS integer) - 300) * 1000000
BEGIN
    INSERT INTO revocations (token_hash, at) VALUES (OLD.token_hash, CAST(strftime('%s', 'now') AS integer) * 1000000);
END;

-- A slide moves the idle end on, which no cache needs to hear; any other change it does.
CREATE TRIGGER gate_session_changed AFTER UPDATE ON sessions
WHEN NEW.expires_at < OLD.expires_at OR NEW.ends_at < OLD.ends_at
  OR NEW.user_id <> OLD.user_id OR NEW.token_hash <> OLD.token_hash
BEGIN
    INSERT INTO revocations (token_hash, at) VALUES (OLD.token_hash, CAST(strftime('%s', 'now') AS integer) * 1000000);
END;

CREATE TRIGGER gate_users_changed AFTER UPDATE ON users
WHEN NEW.email IS NOT OLD.email OR NEW.name IS NOT OLD.name OR NEW.picture IS NOT OLD.picture OR NEW.roles IS NOT OLD.roles
BEGIN
    INSERT INTO revocations (token_hash, at)
        SELECT token_hash, CAST(strftime('%s', 'now') AS integer) * 1000000 FROM sessions
        WHERE user_id = NEW.id AND min(expires_at, ends_at) > (CAST(strftime('%s', 'now') AS integer) - 300) * 1000000;
END;

CREATE TRIGGER gate_users_disabled AFTER UPDATE ON users WHEN NEW.disabled AND NOT OLD.disabled
BEGIN
    DELETE FROM sessions WHERE user_id = NEW.id;
END;

-- Foreign keys are off in the sqlite3 shell unless asked for, so the cascade is not relied on.
CREATE TRIGGER gate_users_removed BEFORE DELETE ON users
BEGIN
    DELETE FROM sessions WHERE user_id = OLD.id;
END;
