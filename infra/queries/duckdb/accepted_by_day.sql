-- How much did m3ter accept of each meter and account on each day, measurements and their sums?
--
-- The day is that of the measurement's ts, in UTC. A uid counts once, with the content that m3ter took first. What m3ter rejected
-- later, as far as the quarantine knows, is left out until it is accepted again. Sums are decimal, with 12 places: what is added
-- up is what was written, so they compare with a bill to the last digit. `unread` counts values that do not fit in.
-- A measurement without numbers has a row without field. In LedgerMode `uids` there is nothing to sum by.

WITH counted AS (
    SELECT * FROM accepted
    WHERE NOT EXISTS (
        FROM entries WHERE entries.uid = accepted.uid AND stage = 'ingest' AND quarantined_at >= (
            SELECT max(sent_at) FROM ledger WHERE ledger.uid = accepted.uid AND answer = 'accepted'
        )
    )
), numbers AS (
    SELECT uid, 'measure.' || key AS field, value FROM counted, json_each(measurement, '$.measure')
    UNION ALL
    SELECT uid, 'cost.' || key, value FROM counted, json_each(measurement, '$.cost')
    UNION ALL
    SELECT uid, 'income.' || key, value FROM counted, json_each(measurement, '$.income')
)
SELECT
    CAST(ts_time(ts) AS DATE) AS day, meter, account, field,
    count(*) AS measurements,
    sum(TRY_CAST(CAST(value AS VARCHAR) AS DECIMAL(38, 12))) AS total,
    count(value) - count(TRY_CAST(CAST(value AS VARCHAR) AS DECIMAL(38, 12))) AS unread
FROM counted LEFT JOIN numbers USING (uid)
GROUP BY ALL ORDER BY ALL;
