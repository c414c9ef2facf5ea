-- What is in the quarantine now and still to be settled, by reason?
--
-- Each entry once; without what was dropped, what m3ter has accepted since, and what came back as a newer entry.

SELECT
    reason, stage, standing,
    count(*) AS entries,
    count(DISTINCT meter) AS meters,
    count(DISTINCT account) AS accounts,
    at_time(min(quarantined_at)) AS first,
    at_time(max(quarantined_at)) AS last,
    min(qid) AS example_qid,
    arg_min(detail, qid) AS example_detail
FROM standings
WHERE standing IN ('open', 'under-way', 'silent')
GROUP BY ALL ORDER BY entries DESC, reason, stage, standing;
