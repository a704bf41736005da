-- A slide moves expires_at, and need not write an index with it: the sweep walks by id instead. (The
-- index on user_id holds the id as well, as each index of SQLite does, so a page of one user's sessions
-- is read in order.)
DROP INDEX sessions_expiry;
