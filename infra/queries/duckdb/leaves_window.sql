-- What in the quarantine leaves m3ter's 35-day window within five days, or has left it?
--
-- m3ter recognises a uid for 35 days; the relay sends nothing again that may first have been sent 34 days ago, since it could be
-- counted twice. So replay or mend these before `replay_until`. What certainly never was sent has no age and is not here, nor is what
-- can go out only under a new uid. The first column says which of the two it is: the metric LeavesWindowSoon counts the `soon`.

SELECT
    CASE WHEN age_ms >= days(34) THEN 'outside' ELSE 'soon' END AS leaves,
    qid, uid, meter, account, reason, standing,
    at_time(not_before) AS not_sent_before,
    at_time(not_before + days(34)) AS replay_until
FROM (SELECT *, getvariable('now_ms') - not_before AS age_ms FROM standings)
WHERE age_ms >= days(30) AND standing IN ('open', 'under-way', 'silent') AND NOT uid_taken
ORDER BY not_before, qid;
