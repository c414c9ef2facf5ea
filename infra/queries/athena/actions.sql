-- What did operators do about quarantined measurements? One row for each marker.
--
-- Put the stack's StoreUrl in place of STORE_URL. Not partitioned: markers lie by entry, and are few. Which entry one is about, and
-- which marker it is, stands in its name: "$path" ends in <qid>/<drop|replay-1|replay-2|…>.json.

CREATE EXTERNAL TABLE IF NOT EXISTS actions (
  `action` string,
  `at` bigint,
  `run` string,
  `by` string,
  `because` string,
  `new_uid` string,
  `supersedes` string,
  `beyond_window` boolean
)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('case.insensitive' = 'FALSE')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 'STORE_URL/actions/v1/'
