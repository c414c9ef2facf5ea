-- What happened to one measurement, in order? SET VARIABLE uid = '…'; first.
--
-- A whole message in the quarantine belongs to the story if its body spells the uid as it is; a compressed body does not.
-- `usage-relay explain` looks into those too, and says in one sentence what it comes to.

WITH mine AS (
    SELECT * FROM standings
    WHERE uid = getvariable('uid') OR (uid IS NULL AND contains(body, '"' || getvariable('uid') || '"'))
), lines AS (
    SELECT * FROM ledger WHERE uid = getvariable('uid')
), first AS (
    SELECT * FROM accepted WHERE uid = getvariable('uid')
), messages AS (
    SELECT message_id, queued_at, origin FROM lines
    UNION ALL
    SELECT message_id, queued_at, origin FROM mine
), events AS (
    SELECT
        min(queued_at) AS happened_at, 0 AS rank, 'queued' AS event, message_id, NULL AS batch, NULL AS qid,
        any_value(origin['kind'] || ':' || origin['of']) AS detail
    FROM messages WHERE queued_at IS NOT NULL GROUP BY message_id
    UNION ALL
    SELECT
        lines.sent_at, CASE lines.answer WHEN 'unknown' THEN 1 ELSE 2 END,
        CASE
            WHEN lines.answer = 'unknown' THEN 'sent, no answer'
            WHEN lines.batch = first.batch THEN 'accepted'
            WHEN lines.content_hash = first.content_hash THEN 'accepted again'
            ELSE 'accepted again, another content'
        END,
        lines.message_id, lines.batch, NULL,
        format('attempts {}, receives {}', lines.attempts, lines.receives)
    FROM lines LEFT JOIN first ON true
    UNION ALL
    SELECT quarantined_at, 4, if(stage = 'ingest', 'rejected later', 'quarantined'), message_id, NULL, qid, reason || ': ' || detail
    FROM mine
    UNION ALL
    SELECT DISTINCT
        event_at, 4,
        CASE outcome WHEN 'receipt' THEN 'receipt' WHEN 'recorded' THEN 'not calculated' ELSE 'copy dropped' END,
        NULL, NULL, NULL, "type"
    FROM acts WHERE uid = getvariable('uid') AND outcome <> 'quarantined'
    UNION ALL
    SELECT
        actions."at", 5, CASE actions.action WHEN 'drop' THEN 'dropped' WHEN 'import' THEN 'corrected' ELSE 'replayed' END,
        NULL, NULL, qid, coalesce(because, new_uid)
    FROM actions JOIN mine USING (qid)
)
SELECT at_time(happened_at) AS happened, event, message_id, batch, qid, detail
FROM events ORDER BY happened_at, rank, message_id, qid, event;
