-- How long did measurements wait between the queue and their first request, hour by hour?
--
-- In seconds, of each measurement's first accepted line, by the hour of writing. What operators sent again is left out: its message
-- is younger than it is. The batching window is part of it; redeliveries after trouble are what makes the tail.

SELECT
    dt, hr,
    count(*) AS measurements,
    quantile_disc(sent_at - queued_at, 0.5) / 1000 AS p50_s,
    quantile_disc(sent_at - queued_at, 0.9) / 1000 AS p90_s,
    quantile_disc(sent_at - queued_at, 0.99) / 1000 AS p99_s,
    max(sent_at - queued_at) / 1000 AS longest_s
FROM accepted
WHERE queued_at IS NOT NULL AND origin IS NULL
GROUP BY dt, hr ORDER BY dt, hr;
