-- Which uids were accepted more than once?
--
-- m3ter keeps the first and drops the rest, as long as they come within its 35 days: `beyond_window` says that they did not, and
-- then it may have counted twice. A lost answer makes such copies, and so does a producer that sends again.

SELECT
    uid, any_value(meter) AS meter, any_value(account) AS account,
    count(*) AS accepted,
    count(DISTINCT message_id) AS messages,
    count(DISTINCT content_hash) AS contents,
    at_time(min(sent_at)) AS first_sent,
    at_time(max(sent_at)) AS last_sent,
    max(sent_at) - min(sent_at) >= days(35) AS beyond_window
FROM ledger
WHERE answer = 'accepted'
GROUP BY uid HAVING count(*) > 1
ORDER BY beyond_window DESC, accepted DESC, uid;
