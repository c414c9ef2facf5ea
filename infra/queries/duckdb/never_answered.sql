-- Which measurements were sent to m3ter, never answered, and not settled since?
--
-- Each is still on the queue and will be sent again, until m3ter answers or it is quarantined. One that stays here for long after
-- its last send belongs to a message that is stuck, or was lost. Settled is: accepted, from whatever message; or in the quarantine,
-- by itself or in its whole message.

SELECT
    uid, meter, account,
    count(*) AS invocations,
    sum(attempts) AS attempts,
    at_time(min(sent_at)) AS first_sent,
    at_time(max(sent_at)) AS last_sent,
    list(DISTINCT message_id ORDER BY message_id) AS message_ids
FROM ledger
WHERE answer = 'unknown'
    AND NOT EXISTS (FROM accepted WHERE accepted.uid = ledger.uid)
    AND NOT EXISTS (
        FROM entries
        WHERE entries.uid = ledger.uid OR (entries.uid IS NULL AND entries.message_id = ledger.message_id)
    )
GROUP BY ALL ORDER BY first_sent, uid;
