-- What do the objects hold? Read this file first: it makes the views that every question here is asked of.
--
-- Needed before: SET VARIABLE store = 'folder, or s3://bucket/relay';   May be set: SET VARIABLE now_ms = …;
-- Columns are named as in the objects. All times are milliseconds since the epoch; `at_time(ms)` makes a UTC timestamp of them.
-- What is listed here is what is asked: read this file again to see what was written since. A folder that is not there is a view
-- without rows. A line that cannot be read is an error, since a sum over the rest would be wrong without saying so. Of an object
-- that broke off DuckDB may not notice: incomplete.sql does.

SET VARIABLE store = rtrim(
    coalesce(getvariable('store'), CAST(error('expected SET VARIABLE store = ''folder, or s3://bucket/prefix'';') AS VARCHAR)), '/'
);
SET VARIABLE now_ms = coalesce(getvariable('now_ms'), epoch_ms(current_timestamp));

CREATE OR REPLACE MACRO at_time(ms) AS make_timestamp(CAST(ms AS BIGINT) * 1000);
CREATE OR REPLACE MACRO days(n) AS n * CAST(86400000 AS BIGINT);

-- A measurement's time is kept as it was written; an offset in it is honoured. NULL is what cannot be read.
CREATE OR REPLACE MACRO ts_time(ts) AS TRY_CAST(ts AS TIMESTAMP);

-- The numbers of one category (measure, cost, income) of a measurement, as written: a list of field and value.
CREATE OR REPLACE MACRO numbers_in(measurement, category) AS list_transform(
    map_entries(CAST(measurement->category AS MAP(VARCHAR, VARCHAR))),
    lambda entry: {field: category || '.' || entry.key, value: entry.value}
);

SET VARIABLE ledger_columns = {
    uid: 'VARCHAR',
    meter: 'VARCHAR',            -- this and the next two are absent in LedgerMode `uids`, as is `measurement`
    account: 'VARCHAR',
    ts: 'VARCHAR',
    batch: 'VARCHAR',            -- <invocation>-<number of the request within it>
    message_id: 'VARCHAR',
    queued_at: 'BIGINT',
    sent_at: 'BIGINT',
    attempts: 'BIGINT',          -- requests of this invocation that held it
    receives: 'BIGINT',          -- deliveries of the message so far
    answer: 'VARCHAR',           -- accepted | unknown
    content_hash: 'VARCHAR',     -- equal for equal content, the uid aside
    origin: 'MAP(VARCHAR, VARCHAR)', -- kind, of: only of what was sent again or by other ways than a producer
    measurement: 'JSON'
};

SET VARIABLE quarantine_columns = {
    qid: 'VARCHAR',
    uid: 'VARCHAR',
    reason: 'VARCHAR',
    detail: 'VARCHAR',
    stage: 'VARCHAR',
    first_sent_at: 'BIGINT',     -- absent: it certainly never was sent
    message_id: 'VARCHAR',
    "position": 'BIGINT',          -- in the message, from 0; 4294967295 is the whole message
    source_arn: 'VARCHAR',
    attributes: 'STRUCT("name" VARCHAR, data_type VARCHAR, "value" VARCHAR)[]', -- of the message: on its first entry in an object only
    queued_at: 'BIGINT',
    first_received_at: 'BIGINT',
    receives: 'BIGINT',
    origin: 'MAP(VARCHAR, VARCHAR)',
    quarantined_at: 'BIGINT',
    measurement: 'JSON',         -- or else:
    body: 'VARCHAR'
};

SET VARIABLE actions_columns = {
    action: 'VARCHAR',           -- drop | replay | import
    "at": 'BIGINT',
    run: 'VARCHAR',
    "by": 'VARCHAR',
    because: 'VARCHAR',
    new_uid: 'VARCHAR',
    supersedes: 'VARCHAR',
    beyond_window: 'BOOLEAN'
};

SET VARIABLE acts_columns = {
    event: 'VARCHAR',            -- m3ter's id of it
    event_at: 'BIGINT',          -- when m3ter raised it, by its own clock
    "type": 'VARCHAR',           -- m3ter's word for what went wrong
    outcome: 'VARCHAR',          -- quarantined | receipt | recorded | unjudged
    uid: 'VARCHAR',
    meter: 'VARCHAR',
    account: 'VARCHAR',
    reason: 'VARCHAR',           -- of the entry, as is
    qid: 'VARCHAR'               -- its id: only of what was quarantined
};

SET VARIABLE ledger_objects = (
    SELECT coalesce(list(file), []) FROM glob(getvariable('store') || '/ledger/v1/dt=*/hr=*/*.ndjson.zst')
);
SET VARIABLE quarantine_objects = (
    SELECT coalesce(list(file), []) FROM glob(getvariable('store') || '/quarantine/v1/dt=*/hr=*/*.ndjson.zst')
);
SET VARIABLE actions_objects = (
    SELECT coalesce(list(file), []) FROM glob(getvariable('store') || '/actions/v1/*/*.json')
);
SET VARIABLE acts_objects = (
    SELECT coalesce(list(file), []) FROM glob(getvariable('store') || '/watch/v1/acts/dt=*/*.ndjson.zst')
);

-- A view cannot read no object at all. So what it reads is chosen here: the objects, or their columns without rows.
CREATE OR REPLACE MACRO reading(folder, more_columns) AS format(
    CASE WHEN len(getvariable(folder || '_objects')) > 0 THEN
        'FROM read_json(getvariable(''{0}_objects''), columns = getvariable(''{0}_columns''), format = ''newline_delimited'', '
        || 'union_by_name = true, ignore_errors = false, filename = true, hive_types_autocast = false, '
        || 'maximum_object_size = 33554432)'  -- 32 MiB, as the relay's own reader: a body of 4 MiB may need 24 when it is escaped
    ELSE 'SELECT unnest(from_json(''{{}}'', to_json(getvariable(''{0}_columns'')))), NULL::VARCHAR AS filename{1} WHERE false'
    END,
    folder, more_columns
);
SET VARIABLE ledger_source = reading('ledger', ', NULL::VARCHAR AS dt, NULL::VARCHAR AS hr');
SET VARIABLE quarantine_source = reading('quarantine', ', NULL::VARCHAR AS dt, NULL::VARCHAR AS hr');
SET VARIABLE actions_source = reading('actions', '');
SET VARIABLE acts_source = reading('acts', ', NULL::VARCHAR AS dt');

-- As the objects hold them, with their folder (dt, hr: of writing, UTC) and their name. A filter on dt spares reading the rest.
CREATE OR REPLACE VIEW ledger AS FROM query(getvariable('ledger_source'));
CREATE OR REPLACE VIEW quarantine AS FROM query(getvariable('quarantine_source'));

-- What was done about each of m3ter's events, one row for each measurement that it tells of. dt is the day of the event.
CREATE OR REPLACE VIEW acts AS FROM query(getvariable('acts_source'));

-- Which entry a marker is about, and which marker it is (drop, replay-1, replay-2, …), stands in its name.
CREATE OR REPLACE VIEW actions AS
SELECT
    regexp_extract(filename, '([^/]+)/([^/]+)\.json$', 1) AS qid,
    regexp_extract(filename, '([^/]+)/([^/]+)\.json$', 2) AS name,
    *
FROM query(getvariable('actions_source'));

-- Each uid that m3ter accepted, by the first time it did: that is the one m3ter keeps.
CREATE OR REPLACE VIEW accepted AS
SELECT * FROM ledger WHERE answer = 'accepted'
QUALIFY row_number() OVER (PARTITION BY uid ORDER BY sent_at, batch) = 1;

-- The quarantine with each entry once, and with its message's attributes on each entry.
CREATE OR REPLACE VIEW entries AS
SELECT * REPLACE (any_value(attributes) OVER (PARTITION BY filename, source_arn, message_id) AS attributes) FROM quarantine
QUALIFY row_number() OVER (PARTITION BY qid ORDER BY quarantined_at, filename) = 1;

-- Each uid that counts, as far as is known, with what counts: the first line that m3ter accepted after the last rejection of that uid.
-- That m3ter has another content under a uid (UidConflict) says nothing against the first.
CREATE OR REPLACE VIEW counted AS
SELECT ledger.* FROM ledger LEFT JOIN (
    SELECT uid, max(quarantined_at) AS last_at FROM quarantine WHERE stage = 'ingest' AND reason <> 'UidConflict' GROUP BY uid
) AS rejected USING (uid)
WHERE answer = 'accepted' AND (last_at IS NULL OR sent_at > last_at)
QUALIFY row_number() OVER (PARTITION BY uid ORDER BY sent_at, batch) = 1;

-- The entries with what became of each since, in the words of `usage-relay quarantine list`: open, under-way and silent are still
-- to be settled; accepted, came-back and dropped are settled. `not_before` is when it may first have been sent to m3ter. With
-- `uid_taken` m3ter dropped it as a copy of what has its uid, and would again: it can only go out under a new one.
CREATE OR REPLACE VIEW standings AS
WITH claims AS (
    SELECT qid, min("at") AS first_at, max("at") AS last_at FROM actions
    WHERE regexp_full_match(name, 'replay-[1-9][0-9]*') GROUP BY qid
), again AS (
    SELECT origin['of'] AS qid, bool_or(answer = 'accepted') AS accepted, bool_or(answer = 'unknown') AS unanswered
    FROM ledger WHERE origin IS NOT NULL GROUP BY ALL
), uids AS (
    SELECT uid, max(sent_at) AS last_at FROM ledger WHERE answer = 'accepted' GROUP BY uid
), came_back AS (
    SELECT origin['of'] AS qid, bool_or(stage = 'ingest') AS rejected FROM entries WHERE origin IS NOT NULL GROUP BY ALL
), written AS (
    SELECT qid, max(quarantined_at) AS last_at FROM quarantine GROUP BY qid
), dropped AS (
    SELECT DISTINCT qid FROM actions WHERE name = 'drop'
)
SELECT
    entries.*,
    measurement->>'meter' AS meter,
    measurement->>'account' AS account,
    stage = 'ingest' AND reason IN ('UidConflict', 'ReplayDropped', 'DuplicateOfUnknown') AS uid_taken,
    CASE
        -- What was accepted again and rejected later is the newer entry's to tell.
        WHEN came_back.rejected THEN 'came-back'
        WHEN again.accepted THEN 'accepted'
        WHEN came_back.qid IS NOT NULL THEN 'came-back'
        WHEN dropped.qid IS NOT NULL THEN 'dropped'
        -- What m3ter rejected later it had accepted before: then only an acceptance after the replay, and after the last copy that it
        -- rejected, tells anything.
        WHEN stage <> 'ingest' AND uids.last_at IS NOT NULL THEN 'accepted'
        WHEN NOT uid_taken AND uids.last_at >= greatest(claims.first_at, written.last_at) THEN 'accepted'
        WHEN claims.qid IS NULL THEN 'open'
        WHEN again.unanswered OR abs(getvariable('now_ms') - claims.last_at) < 15 * 60 * 1000 THEN 'under-way'
        ELSE 'silent'
    END AS standing,
    -- No measurement is sent before its own time, but for clocks that differ by a quarter of an hour. A replay was a send too.
    least(
        greatest(first_sent_at, coalesce(epoch_ms(ts_time(measurement->>'ts')) - 15 * 60 * 1000, first_sent_at)),
        claims.first_at
    ) AS not_before
FROM entries
LEFT JOIN claims USING (qid)
LEFT JOIN again USING (qid)
LEFT JOIN uids USING (uid)
LEFT JOIN came_back USING (qid)
LEFT JOIN written USING (qid)
LEFT JOIN dropped USING (qid);

-- Nothing found? Then the store is another one.
SELECT
    getvariable('store') AS store,
    len(getvariable('ledger_objects')) AS ledger_objects,
    len(getvariable('quarantine_objects')) AS quarantine_objects,
    len(getvariable('actions_objects')) AS markers,
    len(getvariable('acts_objects')) AS acts_objects;
