-- A slide moves expires_at. With no index on it, and with room left on each page, Postgres writes the
-- new row beside the old one and touches no index at all (a HOT update): docs/decisions/0006. The sweep
-- walks by id instead. The release before this one sweeps by expires_at, which still works, slower.
--
-- Everybody waits while this runs: about a second for a million sessions. Who cannot have the lock soon,
-- because a backup is reading the table, gives up rather than let everybody queue behind him, and the
-- next start tries again.
SET LOCAL lock_timeout = '2s';
LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = '0';

DROP INDEX sessions_expiry;
ALTER TABLE sessions SET (fillfactor = 90);

-- A page of one user's sessions is read in the order of their ids, however many others there are.
CREATE INDEX sessions_of_user ON sessions (user_id, id);
DROP INDEX sessions_user;
