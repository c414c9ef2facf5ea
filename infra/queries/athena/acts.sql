-- What did m3ter say after it had accepted, and what was done about it? One row for each measurement that an event tells of.
--
-- Put the stack's StoreUrl in place of STORE_URL. Partitions are computed, not listed: no crawler, no MSCK. `dt` is the day of the
-- event; events that do not say when they were raised lie in dt=1970-01-01, which is not read here. Times are milliseconds since the
-- epoch. `outcome` is quarantined (then `qid` is the entry), receipt, recorded (counted all the same) or unjudged. Two looks at the
-- same time may both have written an event: count by event and uid, not by row.

CREATE EXTERNAL TABLE IF NOT EXISTS acts (
  `event` string,
  `event_at` bigint,
  `type` string,
  `outcome` string,
  `uid` string,
  `meter` string,
  `account` string,
  `reason` string,
  `qid` string
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'FALSE')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 'STORE_URL/watch/v1/acts/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW+1DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 'STORE_URL/watch/v1/acts/dt=${dt}/'
)
