-- Which objects hold less than was written?
--
-- Ask this before you trust a sum. The name of a ledger object says how many lines it has; the others have at least one.
-- S3 keeps an object whole or not at all, so an object that is listed here was cut short by a copy, or by hand: copy it again.

SELECT objects.name, CAST(nullif(regexp_extract(objects.name, '/\d+_-?\d+_-?\d+_(\d+)_[^/]*$', 1), '') AS BIGINT) AS written, lines
FROM (
    SELECT unnest(list_concat(getvariable('ledger_objects'), getvariable('quarantine_objects'), getvariable('acts_objects'))) AS name
) AS objects
LEFT JOIN (
    SELECT filename, count(*) AS lines FROM ledger GROUP BY filename
    UNION ALL
    SELECT filename, count(*) FROM quarantine GROUP BY filename
    UNION ALL
    SELECT filename, count(*) FROM acts GROUP BY filename
) AS counted ON counted.filename = objects.name
WHERE lines IS NULL OR lines <> written
ORDER BY name;
