-- Who may write which run: one row a run. An append locks the row against a change of `epoch`, which stands in a
-- second unique index for that reason alone: so a claim waits for appends under way, and later ones see the new epoch.
-- Renewing a lease touches no index, and so waits for nothing.
CREATE TABLE scaffold.runs (
    run text COLLATE "C" PRIMARY KEY CHECK (run <> ''),
    owner text NOT NULL,
    epoch bigint NOT NULL,
    leased_until timestamptz,
    begun timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (run, epoch)
) WITH (fillfactor = 70);

-- The spine, and what it must not hold: the same lines as the files have. `json` keeps a text as it came, byte for byte.
-- An id begins with the day of its run, so partitions by range are partitions by time.
CREATE TABLE scaffold.events (
    run text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    line json NOT NULL,
    PRIMARY KEY (run, seq)
) PARTITION BY RANGE (run);
CREATE TABLE scaffold.events_default PARTITION OF scaffold.events DEFAULT;

CREATE TABLE scaffold.content (
    run text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    line json NOT NULL,
    PRIMARY KEY (run, seq)
) PARTITION BY RANGE (run);
CREATE TABLE scaffold.content_default PARTITION OF scaffold.content DEFAULT;

-- What all runs did is looked up by time.
CREATE INDEX events_acting ON scaffold.events (((line ->> 'at')::float8)) WHERE kind IN ('action.proposed', 'action.intent');

CREATE TABLE scaffold.heads (
    run text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    note text NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE scaffold.inbox (
    run text COLLATE "C" NOT NULL,
    id text NOT NULL,
    person text NOT NULL,
    answer json NOT NULL,
    PRIMARY KEY (run, id, person)
);

-- Who acts on what; `times` tells apart who has come back since from who has not.
CREATE TABLE scaffold.identities (
    identity text PRIMARY KEY,
    run text NOT NULL,
    key text NOT NULL,
    times bigint NOT NULL
);

-- What was let through within the last minute, for limits that all workers share.
CREATE TABLE scaffold.limits (
    name text NOT NULL,
    entry bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    running_until timestamptz,
    calls bigint NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (name, entry)
);
