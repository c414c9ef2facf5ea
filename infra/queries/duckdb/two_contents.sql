-- Which uids did their producer give more than one content?
--
-- m3ter takes the first that it accepts and drops the others, so what they say is not counted, unless it rejects the first later.
-- One row for each content that was sent, in the order of sending, and one for each that the relay itself kept back as UidConflict.

WITH sent AS (
    SELECT
        uid, content_hash, min(sent_at) AS seen_at, bool_or(answer = 'accepted') AS accepted, NULL AS qid,
        arg_min(measurement, sent_at) AS measurement
    FROM ledger GROUP BY uid, content_hash
), kept_back AS (
    SELECT uid, NULL, quarantined_at, false, qid, measurement FROM entries WHERE reason = 'UidConflict' AND stage <> 'ingest'
), contents AS (
    FROM sent UNION ALL FROM kept_back
)
SELECT
    contents.uid, at_time(seen_at) AS seen, contents.content_hash, contents.accepted, contents.qid,
    coalesce(contents.content_hash = counted.content_hash, false) AS counted,
    contents.measurement
FROM contents LEFT JOIN counted USING (uid)
WHERE contents.uid IN (SELECT uid FROM contents GROUP BY uid HAVING count(*) > 1)
ORDER BY contents.uid, seen_at, contents.content_hash;
