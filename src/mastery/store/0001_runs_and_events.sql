-- Runs are rows while they are measured and immutable documents once closed; events are only ever added.

CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    experiment  TEXT NOT NULL,
    article     TEXT NOT NULL,
    mode        TEXT NOT NULL,
    started     TEXT NOT NULL,
    finished    TEXT,
    standing    TEXT NOT NULL CHECK (standing IN ('open', 'closed', 'interrupted')),
    origin      TEXT NOT NULL CHECK (origin IN ('own', 'imported')),
    machine     TEXT NOT NULL,
    -- The measuring process, as `components.processes.Identity` encodes it: a pid alone is reused by the kernel.
    owner       TEXT,
    header      BLOB,
    hash        TEXT,
    document    BLOB,
    CHECK ((standing = 'open') = (document IS NULL)),
    CHECK ((document IS NULL) = (hash IS NULL)),
    CHECK (standing <> 'open' OR (header IS NOT NULL AND owner IS NOT NULL))
) STRICT;

CREATE INDEX runs_by_experiment ON runs (experiment, started);
CREATE INDEX runs_by_start ON runs (started);
CREATE INDEX runs_open ON runs (standing) WHERE standing = 'open';

CREATE TABLE trials (
    run      TEXT NOT NULL REFERENCES runs (id),
    sequence INTEGER NOT NULL,
    record   BLOB NOT NULL,
    PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    -- The order of arrival: times come from several machines and may collide.
    position INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    at       TEXT NOT NULL,
    actor    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    origin   TEXT NOT NULL CHECK (origin IN ('own', 'imported')),
    body     BLOB NOT NULL
) STRICT;

CREATE INDEX events_by_kind ON events (kind, actor);

CREATE TRIGGER a_closed_run_never_changes BEFORE UPDATE ON runs WHEN OLD.standing <> 'open'
BEGIN
    SELECT RAISE(ABORT, 'a closed run never changes');
END;

CREATE TRIGGER a_run_is_never_deleted BEFORE DELETE ON runs
BEGIN
    SELECT RAISE(ABORT, 'a run is never deleted');
END;

CREATE TRIGGER an_event_never_changes BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event never changes');
END;

CREATE TRIGGER an_event_is_never_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event is never deleted');
END;
