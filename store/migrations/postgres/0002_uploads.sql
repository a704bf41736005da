-- Uploaded files: who put what where. A row is written before the first byte of its file and settled
-- after the last, so that whatever a crash leaves in the bucket is found by its row.

CREATE TABLE uploads (
    id         text COLLATE "C" PRIMARY KEY, -- a UUID of version 7, whose order is that of time
    user_id    bigint REFERENCES users (id) ON DELETE SET NULL,
    session_id bigint NOT NULL,              -- sessions end, their ids are never used again
    key        text COLLATE "C" NOT NULL UNIQUE,
    name       text NOT NULL,
    declared   text NOT NULL DEFAULT '',
    sniffed    text NOT NULL DEFAULT '',
    size       bigint NOT NULL CHECK (size >= 0),
    sha256     text NOT NULL DEFAULT '',
    state      text NOT NULL CHECK (state IN ('pending', 'kept', 'doomed')),
    created_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL DEFAULT now(), -- by this server's clock, as all that follow
    settled_at timestamptz,
    doomed_at  timestamptz,
    cleared_at timestamptz, -- when nothing stood under key any more
    -- A user with files cannot be deleted, by hand either: nobody would know whose they were. What is
    -- doomed outlives its owner, for somebody must still remove it from the bucket.
    CONSTRAINT uploads_have_an_owner CHECK (user_id IS NOT NULL OR state = 'doomed')
);
-- The quota is summed in the index alone, and so are the pages of a list read.
CREATE INDEX uploads_user ON uploads (user_id, state, id) INCLUDE (size);
CREATE INDEX uploads_pending ON uploads (beat_at) WHERE state = 'pending';
CREATE INDEX uploads_doomed ON uploads (doomed_at) WHERE state = 'doomed';
