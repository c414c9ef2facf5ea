//! `POST /usage/query`: what a usage query may ask, and its limits.
//!
//! Published: the request, the 20,000 rows, `hasMoreData`, one query a second with a burst of ten. Not published, and
//! so the sandbox's own choice: the names of the columns (see [`query_rows`](crate::query_rows)), that a missing date
//! leaves that end open, and that a query without aggregations lists the measurements, newest received first.

use axum::extract::{Path, State};
use bytes::Bytes;
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{Refusal, ok, read};
use crate::book::Book;
use crate::config_routes::{Answer, Place};
use crate::query_rows::Row;
use crate::rules::{DATE_TIME_RULE, date_time};
use crate::sandbox::Sandbox;

/// Most rows of one answer (m3ter's documentation, OpenAPI `UsageQueryRequest.limit.maximum`).
const ROWS_MAX: usize = 20_000;

/// `UsageQueryRequest`, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UsageQueryRequest {
    start_date: Option<String>,
    end_date: Option<String>,
    meter_ids: Option<Vec<String>>,
    account_ids: Option<Vec<String>>,
    dimension_filters: Option<Vec<DimensionFilter>>,
    aggregations: Option<Vec<Aggregation>>,
    groups: Option<Vec<Group>>,
    limit: Option<usize>,
}

/// `DataExplorerDimensionFilter`: lets measurements of that meter pass that have one of the values.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DimensionFilter {
    pub(crate) meter_id: String,
    pub(crate) field_code: String,
    pub(crate) values: Vec<String>,
}

/// `DataExplorerAggregation`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Aggregation {
    pub(crate) meter_id: String,
    pub(crate) field_code: String,
    pub(crate) field_type: FieldType,
    pub(crate) function: Function,
}

/// `DataExplorerFieldType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum FieldType {
    Dimension,
    Measure,
}

/// `DataExplorerAggregationFunction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Function {
    Sum,
    Min,
    Max,
    Count,
    Latest,
    Mean,
    Unique,
}

/// `DataExplorerGroup` and its three kinds.
#[derive(Debug, Deserialize)]
#[serde(tag = "groupType", rename_all = "UPPERCASE")]
pub(crate) enum Group {
    Account,
    #[serde(rename_all = "camelCase")]
    Dimension {
        meter_id: String,
        field_code: String,
    },
    Time {
        frequency: Frequency,
    },
}

/// `DataExplorerUsageDataFrequency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Frequency {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
}

/// A checked query.
#[derive(Debug)]
pub(crate) struct UsageQuery {
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    /// Places in the catalogue; `None` is no filter.
    pub(crate) meters: Option<Vec<u32>>,
    pub(crate) accounts: Option<Vec<u32>>,
    pub(crate) filters: Vec<(u32, DimensionFilter)>,
    pub(crate) aggregations: Vec<(u32, Aggregation)>,
    pub(crate) groups: Vec<(u32, Group)>,
    pub(crate) limit: usize,
}

/// `UsageQueryResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UsageQueryResponse {
    data: Vec<Row>,
    has_more_data: bool,
}

/// `POST /usage/query`.
pub(crate) async fn query(State(sandbox): State<Sandbox>, Path(place): Path<Place>, parts: Parts, body: Bytes) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let (now, per_second, burst) = (inner.clock.now(), inner.options.limits.query_per_second, inner.options.limits.query_burst);
    inner.query.admit(now, per_second, burst)?;
    let query = inner.book.checked(read(&body)?)?;
    let mut data = inner.book.rows(&query);
    let has_more_data = data.len() > query.limit;
    data.truncate(query.limit);
    Ok(ok(&UsageQueryResponse { data, has_more_data }))
}

impl Book {
    /// Checks a query and finds the places of its ids.
    fn checked(&self, request: UsageQueryRequest) -> Result<UsageQuery, Refusal> {
        let limit = request.limit.unwrap_or(ROWS_MAX);
        if !(1..=ROWS_MAX).contains(&limit) {
            return Err(Refusal::bad(format!("limit: expected 1 to {ROWS_MAX}")));
        }
        let filters = request.dimension_filters.unwrap_or_default();
        if filters.iter().any(|filter| filter.values.is_empty()) {
            return Err(Refusal::bad("dimensionFilters: expected at least one value"));
        }
        let aggregations = request.aggregations.unwrap_or_default();
        let numeric = |function| matches!(function, Function::Sum | Function::Min | Function::Max | Function::Mean);
        if aggregations.iter().any(|one| one.field_type == FieldType::Dimension && numeric(one.function)) {
            return Err(Refusal::bad("aggregations: expected COUNT, LATEST or UNIQUE of a DIMENSION"));
        }
        let meter = |id: &str| {
            self.meters.find(id).map(|(place, _)| place).map_err(|_| Refusal::bad(format!("meterId: no meter has the id {id:?}")))
        };
        let filters = filters.into_iter().map(|filter| Ok((meter(&filter.meter_id)?, filter))).collect::<Result<_, Refusal>>()?;
        let aggregations =
            aggregations.into_iter().map(|one| Ok((meter(&one.meter_id)?, one))).collect::<Result<_, Refusal>>()?;
        let groups = request.groups.unwrap_or_default().into_iter().map(|group| {
            let place = match &group {
                Group::Dimension { meter_id, .. } => meter(meter_id)?,
                Group::Account | Group::Time { .. } => u32::MAX,
            };
            Ok((place, group))
        });
        let places = |ids: Option<Vec<String>>, find: &dyn Fn(&str) -> Option<u32>| {
            let ids = ids.filter(|ids| !ids.is_empty());
            ids.map(|ids| ids.iter().filter_map(|id| find(id)).collect::<Vec<u32>>())
        };
        Ok(UsageQuery {
            start: date("startDate", request.start_date)?,
            end: date("endDate", request.end_date)?,
            meters: places(request.meter_ids, &|id| self.meters.find(id).ok().map(|(place, _)| place)),
            accounts: places(request.account_ids, &|id| self.accounts.find(id).ok().map(|(place, _)| place)),
            filters,
            aggregations,
            groups: groups.collect::<Result<_, Refusal>>()?,
            limit,
        })
    }
}

/// One end of the time range.
fn date(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Refusal> {
    let read = |text: String| date_time(&text).ok_or_else(|| Refusal::bad(format!("{name}: expected {DATE_TIME_RULE}")));
    text.map(read).transpose()
}
