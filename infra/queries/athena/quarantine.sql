-- What could not go on, and why? One row for each time that an entry was written: count by qid, not by row.
--
-- Put the stack's StoreUrl in place of STORE_URL. Partitions are computed, not listed: no crawler, no MSCK.
-- All times are milliseconds since the epoch. `attributes` are the message's, and stand on its first entry in an object only.
-- `measurement` is JSON as its producer wrote it, broken rules and all. One that names a key twice is no JSON to this SerDe, and
-- the query fails at it; DuckDB and `usage-relay quarantine` read it.

CREATE EXTERNAL TABLE IF NOT EXISTS quarantine (
  `qid` string,
  `uid` string,
  `reason` string,
  `detail` string,
  `stage` string,
  `first_sent_at` bigint,
  `message_id` string,
  `position` bigint,
  `source_arn` string,
  `attributes` array<struct<`name`:string,`data_type`:string,`value`:string>>,
  `queued_at` bigint,
  `first_received_at` bigint,
  `receives` bigint,
  `origin` map<string,string>,
  `quarantined_at` bigint,
  `measurement` string,
  `body` string
)
PARTITIONED BY (`dt` string, `hr` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'FALSE')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 'STORE_URL/quarantine/v1/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW+1DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'projection.hr.type' = 'integer',
  'projection.hr.range' = '0,23',
  'projection.hr.digits' = '2',
  'storage.location.template' = 'STORE_URL/quarantine/v1/dt=${dt}/hr=${hr}/'
)
