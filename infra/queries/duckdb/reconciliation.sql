-- Do ledger and quarantine agree: is each measurement of each message in one of them, and in both only for a known reason?
--
-- Counted is each uid of each message; an entry without a uid counts by itself. `as_promised` is false where the relay's promises do
-- not explain the row: then look at `example`. In both, with an acceptance, may be: the other content of a uid that stands twice in
-- one message (UidConflict), what was given up after days although m3ter had it (Exhausted), and what m3ter rejected later (stage
-- ingest). What is unknown here was never answered in this message; never_answered.sql lists what was not settled since.
-- A whole message in the quarantine (DeliveryExhausted) counts once, whatever it holds.

WITH sent AS (
    SELECT message_id, uid, bool_or(answer = 'accepted') AS accepted FROM ledger GROUP BY ALL
), kept AS (
    SELECT message_id, coalesce(uid, qid) AS uid, list_sort(list(DISTINCT reason)) AS reasons,
        bool_and(stage = 'ingest' OR reason IN ('UidConflict', 'Exhausted')) AS may_be_in_both
    FROM entries GROUP BY ALL
)
SELECT
    CASE WHEN accepted THEN 'accepted' WHEN NOT accepted THEN 'unknown' ELSE 'no' END AS in_ledger,
    coalesce(array_to_string(reasons, ', '), 'no') AS in_quarantine,
    count(*) AS measurements,
    coalesce(NOT accepted, true) OR coalesce(may_be_in_both, true) AS as_promised,
    min(uid) AS example
FROM sent FULL JOIN kept USING (message_id, uid)
GROUP BY ALL ORDER BY as_promised, in_ledger, in_quarantine;
