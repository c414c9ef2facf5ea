-- What was sent to m3ter, and how it answered? One row for each measurement and invocation.
--
-- Put the stack's StoreUrl in place of STORE_URL. Always ask with a condition on dt: it decides how much is read and paid for.
-- Partitions are computed, not listed: no crawler, no MSCK. A day without objects costs one look at each hour.
-- All times are milliseconds since the epoch. `measurement` is JSON, for json_extract.

CREATE EXTERNAL TABLE IF NOT EXISTS ledger (
  `uid` string,
  `meter` string,
  `account` string,
  `ts` string,
  `batch` string,
  `message_id` string,
  `queued_at` bigint,
  `sent_at` bigint,
  `attempts` bigint,
  `receives` bigint,
  `answer` string,
  `content_hash` string,
  `origin` map<string,string>,
  `measurement` string
)
PARTITIONED BY (`dt` string, `hr` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'FALSE')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 'STORE_URL/ledger/v1/'
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
  'storage.location.template' = 'STORE_URL/ledger/v1/dt=${dt}/hr=${hr}/'
)
