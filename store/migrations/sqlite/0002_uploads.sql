-- Uploaded files: who put what where. A row is written before the first byte of its file and settled
-- after the last, so that whatever a crash leaves in the bucket is found by its row.

CREATE TABLE uploads (
    id         text PRIMARY KEY NOT NULL, -- a UUID of version 7, whose order is that of time
    user_id    integer REFERENCES users (id) ON DELETE SET NULL,
    session_id integer NOT NULL,          -- sessions end, their ids are never used again
    key        text NOT NULL UNIQUE,
    name       text NOT NULL,
    declared   text NOT NULL DEFAULT '',
    sniffed    text NOT NULL DEFAULT '',
    size       integer NOT NULL CHECK (size >= 0),
    sha256     text NOT NULL DEFAULT '',
    state      text NOT NULL CHECK (state IN ('pending', 'kept', 'doomed')),
    created_at integer NOT NULL,
    beat_at    integer NOT NULL,
    settled_at integer,
    doomed_at  integer,
    cleared_at integer, -- when nothing stood under key any more
    -- A user with files cannot be deleted, by hand either: nobody would know whose they were. What is
    -- doomed outlives its owner, for somebody must still remove it from the bucket.
    CONSTRAINT uploads_have_an_owner CHECK (user_id IS NOT NULL OR state = 'doomed')
);
-- The quota is summed in the index alone.
CREATE INDEX uploads_user ON uploads (user_id, state, id, size);
CREATE INDEX uploads_pending ON uploads (beat_at) WHERE state = 'pending';
CREATE INDEX uploads_doomed ON uploads (doomed_at) WHERE state = 'doomed';

-- Foreign keys are off in the sqlite3 shell unless asked for, so they are not relied on.
CREATE TRIGGER gate_users_with_files BEFORE DELETE ON users
BEGIN
    SELECT RAISE(ABORT, 'the user has files: gatehouse user rm --uploads')
        WHERE EXISTS (SELECT 1 FROM uploads WHERE user_id = OLD.id AND state <> 'doomed');
    UPDATE uploads SET user_id = NULL WHERE user_id = OLD.id;
END;
