-- How full were the batches, day by day?
--
-- A batch holds 1,000 measurements at most, fewer if they are large. Many small batches cost requests: a longer batching window
-- (BatchingWindowSeconds) fills them. A batch that was refused and halved shows up as its parts.

SELECT
    dt,
    count(*) AS batches,
    sum(measurements) AS measurements,
    round(avg(measurements), 1) AS mean,
    quantile_disc(measurements, 0.5) AS median,
    max(measurements) AS largest,
    count(*) FILTER (measurements = 1) AS of_one,
    count(*) FILTER (measurements = 1000) AS full
FROM (SELECT min(dt) AS dt, batch, count(*) AS measurements FROM ledger GROUP BY batch)
GROUP BY dt ORDER BY dt;
