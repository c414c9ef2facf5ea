-- What did m3ter reject after it had accepted it, by reason and meter?
--
-- One row for each reason and meter, with what is still to be settled first. When m3ter rejected it is by m3ter's clock where the
-- acts tell, else when it was quarantined. What m3ter could not calculate it counted: that, the receipts and what nobody could
-- judge are not here but in `acts` (SELECT outcome, "type", count(*) FROM acts GROUP BY ALL).

WITH told AS (
    SELECT qid, min(event_at) AS event_at, any_value(meter) AS meter FROM acts WHERE outcome = 'quarantined' GROUP BY qid
), rejected AS (
    SELECT
        standings.* EXCLUDE (meter),
        coalesce(standings.meter, told.meter) AS meter,
        coalesce(nullif(event_at, 0), quarantined_at) AS rejected_at
    FROM standings LEFT JOIN told USING (qid)
    WHERE stage = 'ingest'
)
SELECT
    reason, meter,
    count(*) AS entries,
    count(*) FILTER (standing IN ('open', 'under-way', 'silent')) AS to_settle,
    count(*) FILTER (standing = 'accepted') AS accepted_since,
    count(DISTINCT account) AS accounts,
    at_time(min(rejected_at)) AS first,
    at_time(max(rejected_at)) AS last,
    arg_min(uid, qid) AS example_uid,
    arg_min(detail, qid) AS example_detail
FROM rejected
GROUP BY ALL ORDER BY to_settle DESC, entries DESC, reason, meter;
