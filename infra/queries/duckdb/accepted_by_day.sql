-- How much did m3ter accept of each meter and account on each day, measurements and their sums?
--
-- The day is that of the measurement's ts, in UTC. A uid counts once, with the content that m3ter took first. What m3ter rejected
-- later, as far as the quarantine knows, is left out until it is accepted again, and then counts with the content that it had then.
-- Sums are decimal, with 12 places: what is added up is what was written, so they compare with a bill to the last digit. `unread`
-- counts values that do not fit in. A measurement without numbers has a row without field. In LedgerMode `uids` there is nothing to
-- sum by.

WITH listed AS (
    SELECT
        ts, meter, account,
        list_concat(numbers_in(measurement, 'measure'), numbers_in(measurement, 'cost'), numbers_in(measurement, 'income')) AS numbers
    FROM counted
), single AS (
    SELECT ts, meter, account, unnest(CASE WHEN len(numbers) > 0 THEN numbers ELSE [NULL] END) AS number FROM listed
)
SELECT
    CAST(ts_time(ts) AS DATE) AS day, meter, account, number.field,
    count(*) AS measurements,
    sum(TRY_CAST(number.value AS DECIMAL(38, 12))) AS total,
    count(number.value) - count(TRY_CAST(number.value AS DECIMAL(38, 12))) AS unread
FROM single
GROUP BY ALL ORDER BY ALL;
