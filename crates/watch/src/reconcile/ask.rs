//! m3ter's side: which meters and accounts there are, and what was counted of them.
//!
//! One question for each meter, by account and day. m3ter gives 20,000 rows at most; where there are more, or an answer would
//! be too large for it (413), the days are asked for in halves, down to one, and then by groups of accounts. Half an answer is never used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use m3ter_client::{List, NotAnswered, Session};
use relay_core::limits::{LIST_BYTES_MAX, PAGE_MAX};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::compare::{Counted, Fields};
use super::held::{Names, Place};
use super::report::{Unread, date_of};
use super::rows::{Answer, Asked, Function, Odd, UsageRow, Whose, read};

/// Most rows of an answer. Source: m3ter's API reference, `UsageQueryRequest.limit.maximum`.
const ROWS_MAX: usize = 20_000;
/// Bytes that a row takes with its account and its day, and with each number of it, beside the codes in its name.
const ROW_BYTES: usize = 256;
const CELL_BYTES: usize = 64;
/// Most bytes of codes in one question: they stand in its address, each byte as up to three.
const CODES_BYTES_MAX: usize = 1_500;
/// Accounts in one question, where they must be asked for in groups.
const ACCOUNTS: usize = 5_000;
/// Most pages of accounts: 500,000 of them. At ten a second that is eight minutes.
const PAGES_MAX: usize = 5_000;
/// What m3ter puts behind the code of an account that a measurement made it create.
const AUTOCREATED: &str = "-autocreated";

/// A meter at m3ter.
#[derive(Clone, Debug)]
struct Meter {
    id: String,
    code: Arc<str>,
    numeric: BTreeSet<Arc<str>>,
    dimension: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    code: Option<String>,
    #[serde(default)]
    data_fields: Option<Vec<DataField>>,
}

#[derive(Deserialize)]
struct DataField {
    category: String,
    code: String,
}

/// Which usage is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The first day, in days since the epoch,
    pub(crate) from_day: i64,
    /// and the day after the last.
    pub(crate) until_day: i64,
    /// Codes of meters.
    pub(crate) meters: BTreeSet<Arc<str>>,
    /// Codes of the accounts that are meant; none means all.
    pub(crate) accounts: BTreeSet<Arc<str>>,
    /// Codes of accounts that the ledger holds.
    pub(crate) known_accounts: BTreeSet<Arc<str>>,
}

/// What m3ter counted.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// By place.
    pub(crate) counted: BTreeMap<Place, Counted>,
    /// What each meter is that could be asked about.
    pub(crate) meters: BTreeMap<Arc<str>, Fields>,
    /// What could not be read.
    pub(crate) unread: Vec<Unread>,
}

/// One question: days, and accounts if not all.
struct Part {
    from_day: i64,
    until_day: i64,
    accounts: Option<Vec<String>>,
}

/// Why a meter could not be asked about.
enum Not {
    /// Nothing else can be asked either.
    Answered(NotAnswered),
    /// It is about this meter.
    Read(String),
}

impl From<NotAnswered> for Not {
    fn from(error: NotAnswered) -> Not {
        Not::Answered(error)
    }
}

/// Asks m3ter for what is `wanted`. `tell` is told how many meters are done, and of how many.
pub(crate) async fn usage(
    session: &Session<'_>,
    wanted: &Wanted,
    names: &mut Names,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Usage, NotAnswered> {
    let mut usage = Usage::default();
    let meters = meters(session, &wanted.meters, names).await?;
    for code in &wanted.meters {
        if meters.iter().all(|meter| meter.code != *code) {
            usage.meters.insert(Arc::clone(code), Fields::NoMeter);
        }
    }
    let mut accounts = Accounts::default();
    let codes = if wanted.accounts.is_empty() { &wanted.known_accounts } else { &wanted.accounts };
    accounts.look_up(session, codes, names).await?;
    let narrowed = (!wanted.accounts.is_empty()).then(|| accounts.codes.keys().cloned().collect::<Vec<String>>());
    let (of, mut unread) = (meters.len() as u64, BTreeSet::new());
    for (done, meter) in (0..).zip(&meters) {
        tell(done, of);
        match rows_of(session, meter, wanted, narrowed.as_deref(), &mut accounts, names).await {
            Ok(rows) => {
                for row in rows {
                    accounts.resolve(session, &row.whose, names).await?;
                    let account = accounts.code_of(&row.whose, &wanted.known_accounts, names);
                    // What was not asked for is not compared, whatever else an answer holds.
                    if !wanted.accounts.is_empty() && !wanted.accounts.contains(&account) {
                        continue;
                    }
                    let place = Place { meter: Arc::clone(&meter.code), account, day: row.day };
                    usage.counted.entry(place).or_default().add(row.counted);
                }
                match usage.meters.entry(Arc::clone(&meter.code)).or_insert_with(|| Fields::Known(BTreeSet::new())) {
                    Fields::Known(fields) => fields.extend(meter.numeric.iter().cloned()),
                    Fields::NoMeter => {}
                }
            }
            Err(Not::Read(expected)) => {
                unread.insert(Arc::clone(&meter.code));
                usage.unread.push(Unread { name: format!("usage of meter {}", meter.code), expected });
            }
            Err(Not::Answered(error)) => return Err(error),
        }
    }
    tell(of, of);
    // Of two meters of one code, what could be read of one is not the whole.
    usage.meters.retain(|code, _| !unread.contains(code));
    Ok(usage)
}

impl Counted {
    fn add(&mut self, other: Counted) {
        self.count = self.count.plus(&other.count);
        for (field, sum) in other.sums {
            let known = self.sums.entry(field).or_default();
            *known = known.plus(&sum);
        }
    }
}

/// The rows of one meter.
async fn rows_of(
    session: &Session<'_>,
    meter: &Meter,
    wanted: &Wanted,
    narrowed: Option<&[String]>,
    accounts: &mut Accounts,
    names: &mut Names,
) -> Result<Vec<UsageRow>, Not> {
    let aggregations = meter.aggregations();
    if aggregations.is_empty() {
        return Err(Not::Read("expected the meter to have a data field".to_owned()));
    }
    // No account of those that are meant is known to m3ter. No filter at all would mean every account.
    if narrowed.is_some_and(<[String]>::is_empty) {
        return Ok(Vec::new());
    }
    let groups = |ids: &[String]| ids.chunks(ACCOUNTS).map(<[String]>::to_vec).collect::<Vec<_>>();
    let (from_day, until_day) = (wanted.from_day, wanted.until_day);
    let mut parts: Vec<Part> = match narrowed {
        None => vec![Part { from_day, until_day, accounts: None }],
        Some(ids) => groups(ids).into_iter().map(|ids| Part { from_day, until_day, accounts: Some(ids) }).collect(),
    };
    let mut rows = Vec::new();
    while let Some(part) = parts.pop() {
        match ask(session, meter, &aggregations, &part).await? {
            Ok(Answer { rows: more, more: false }) => rows.extend(more),
            // Where no column is known as the day, one day needs none.
            Ok(Answer { more: true, .. }) | Err(Odd::NoDay { .. }) if part.until_day - part.from_day > 1 => {
                let middle = part.from_day + (part.until_day - part.from_day) / 2;
                parts.push(Part { until_day: middle, accounts: part.accounts.clone(), ..part });
                parts.push(Part { from_day: middle, ..part });
            }
            Ok(Answer { more: true, .. }) => {
                let ids = match part.accounts {
                    None => {
                        accounts.list(session, names).await?;
                        accounts.codes.keys().cloned().collect()
                    }
                    Some(ids) if ids.len() > 1 => ids,
                    Some(_) => return Err(Not::Read("expected one row for one account and one day".to_owned())),
                };
                let size = if ids.len() > ACCOUNTS { ACCOUNTS } else { ids.len().div_ceil(2).max(1) };
                let of_day =
                    |ids: &[String]| Part { from_day: part.from_day, until_day: part.until_day, accounts: Some(ids.to_vec()) };
                parts.extend(ids.chunks(size).map(of_day));
            }
            Err(odd) => return Err(Not::Read(odd.to_string())),
        }
    }
    Ok(rows)
}

/// One question. What is turned down for its own sake is told of its meter; everything else ends the whole.
async fn ask(
    session: &Session<'_>,
    meter: &Meter,
    aggregations: &[(Arc<str>, Function)],
    part: &Part,
) -> Result<Result<Answer, Odd>, Not> {
    let field_type = |field: &Arc<str>| if meter.numeric.contains(field) { "MEASURE" } else { "DIMENSION" };
    let aggregation = |(field, function): &(Arc<str>, Function)| json!({"meterId": meter.id, "fieldCode": **field, "fieldType": field_type(field), "function": function.name()});
    let limit = meter.rows_max(aggregations);
    let mut query = json!({
        "startDate": format!("{}T00:00:00Z", date_of(part.from_day)),
        "endDate": format!("{}T00:00:00Z", date_of(part.until_day)),
        "meterIds": [meter.id],
        "aggregations": aggregations.iter().map(aggregation).collect::<Vec<_>>(),
        "groups": [{"groupType": "ACCOUNT"}, {"groupType": "TIME", "frequency": "DAY"}],
        "limit": limit,
    });
    if let (Some(ids), Some(query)) = (&part.accounts, query.as_object_mut()) {
        query.insert("accountIds".to_owned(), json!(ids));
    }
    let answer = match session.usage(&query).await {
        Ok(answer) => answer,
        // The answer would be too large. Source: m3ter's table of status codes.
        Err(NotAnswered::Refused { status: 413 }) => return Ok(Ok(Answer { rows: Vec::new(), more: true })),
        Err(NotAnswered::Refused { status: status @ (400 | 404 | 422) }) => {
            return Err(Not::Read(format!("expected m3ter to take the question; it answered {status}")));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(read(&answer, &Asked { aggregations, from_day: part.from_day, until_day: part.until_day }, limit))
}

impl Meter {
    /// What is asked of it: sum and count of each number, or the count of some text.
    fn aggregations(&self) -> Vec<(Arc<str>, Function)> {
        let both = |field: &Arc<str>| [(Arc::clone(field), Function::Sum), (Arc::clone(field), Function::Count)];
        match self.numeric.is_empty() {
            false => self.numeric.iter().flat_map(both).collect(),
            true => self.dimension.iter().map(|field| (Arc::clone(field), Function::Count)).collect(),
        }
    }

    /// As many rows as surely fit an answer that is read.
    fn rows_max(&self, aggregations: &[(Arc<str>, Function)]) -> usize {
        let cells = aggregations.iter().map(|(field, _)| CELL_BYTES + field.len() + self.code.len() + self.id.len());
        (LIST_BYTES_MAX / (ROW_BYTES + cells.sum::<usize>())).clamp(1, ROWS_MAX)
    }
}

/// Codes in groups that one question holds. A code with a comma would be taken for two.
fn questions(codes: &BTreeSet<Arc<str>>) -> Vec<Vec<&str>> {
    let (mut groups, mut bytes): (Vec<Vec<&str>>, usize) = (Vec::new(), 0);
    for code in codes.iter().filter(|code| !code.contains(',')) {
        bytes += code.len() + 1;
        match groups.last_mut() {
            Some(group) if group.len() < PAGE_MAX && bytes <= CODES_BYTES_MAX => group.push(code),
            Some(_) | None => {
                bytes = code.len() + 1;
                groups.push(vec![code]);
            }
        }
    }
    groups
}

/// Every entry of `list`, or as many as fit so many pages.
async fn everything(session: &Session<'_>, list: List) -> Result<Vec<Listed>, NotAnswered> {
    let (mut found, mut next) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = session.page(list, next.as_deref()).await?;
        found.extend(page.data.iter().filter_map(|raw| listed(raw)));
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    Ok(found)
}

fn listed(raw: &RawValue) -> Option<Listed> {
    serde_json::from_str(raw.get()).ok()
}

async fn meters(session: &Session<'_>, codes: &BTreeSet<Arc<str>>, names: &mut Names) -> Result<Vec<Meter>, NotAnswered> {
    let mut found = Vec::new();
    for group in questions(codes) {
        found.extend(session.ids(List::Meters, &group).await?.data.iter().filter_map(|raw| listed(raw)));
    }
    if codes.iter().any(|code| code.contains(',')) {
        found = everything(session, List::Meters).await?;
    }
    let mut meters = Vec::new();
    for one in found {
        let Some(code) = one.code.as_ref().and_then(|code| codes.get(code.as_str())) else { continue };
        let mut meter = Meter { id: one.id, code: Arc::clone(code), numeric: BTreeSet::new(), dimension: None };
        for field in one.data_fields.unwrap_or_default() {
            match field.category.to_ascii_uppercase().as_str() {
                "MEASURE" | "COST" | "INCOME" => drop(meter.numeric.insert(names.name(&field.code))),
                _ => meter.dimension = meter.dimension.or_else(|| Some(names.name(&field.code))),
            }
        }
        meters.push(meter);
    }
    Ok(meters)
}

/// Accounts by id.
#[derive(Debug, Default)]
struct Accounts {
    codes: BTreeMap<String, Arc<str>>,
    is_listed: bool,
}

impl Accounts {
    async fn look_up(&mut self, session: &Session<'_>, codes: &BTreeSet<Arc<str>>, names: &mut Names) -> Result<(), NotAnswered> {
        if codes.iter().any(|code| code.contains(',')) {
            self.list(session, names).await?;
            self.codes.retain(|_, code| codes.contains(code));
            self.is_listed = false;
        }
        for group in questions(codes) {
            self.keep(session.ids(List::Accounts, &group).await?.data.iter().filter_map(|raw| listed(raw)), names);
        }
        // An account that a measurement made may be called after its code.
        let known: BTreeSet<&Arc<str>> = self.codes.values().collect();
        let missing = codes.iter().filter(|code| !known.contains(*code));
        let missing: BTreeSet<Arc<str>> = missing.map(|code| format!("{code}{AUTOCREATED}").into()).collect();
        for group in questions(&missing) {
            self.keep(session.ids(List::Accounts, &group).await?.data.iter().filter_map(|raw| listed(raw)), names);
        }
        Ok(())
    }

    /// All of them, once.
    async fn list(&mut self, session: &Session<'_>, names: &mut Names) -> Result<(), NotAnswered> {
        if !self.is_listed {
            self.is_listed = true;
            self.keep(everything(session, List::Accounts).await?.into_iter(), names);
        }
        Ok(())
    }

    fn keep(&mut self, found: impl Iterator<Item = Listed>, names: &mut Names) {
        for one in found {
            if let Some(code) = one.code {
                self.codes.insert(one.id, names.name(&code));
            }
        }
    }

    /// Sees to it that the code of an account is known, if it can be.
    async fn resolve(&mut self, session: &Session<'_>, whose: &Whose, names: &mut Names) -> Result<(), NotAnswered> {
        let is_known = whose.code.is_some() || whose.id.as_ref().is_none_or(|id| self.codes.contains_key(id));
        if is_known { Ok(()) } else { self.list(session, names).await }
    }

    /// The code that measurements name; an account that nobody knows is called by its id.
    fn code_of(&self, whose: &Whose, known: &BTreeSet<Arc<str>>, names: &mut Names) -> Arc<str> {
        let by_id = whose.id.as_ref().and_then(|id| self.codes.get(id)).cloned();
        let code = by_id.or_else(|| whose.code.as_deref().map(|code| names.name(code)));
        let code = code.unwrap_or_else(|| names.name(whose.id.as_deref().unwrap_or_default()));
        let base = code.strip_suffix(AUTOCREATED).filter(|_| !known.contains(&code));
        base.and_then(|base| known.get(base)).map_or(code.clone(), Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(codes: &[&str]) -> BTreeSet<Arc<str>> {
        codes.iter().map(|code| Arc::from(*code)).collect()
    }

    #[test]
    fn codes_are_asked_for_in_groups_that_an_address_holds() {
        let many: Vec<String> = (0..250).map(|number| format!("a{number:03}")).collect();
        let sizes = |all: &BTreeSet<Arc<str>>| questions(all).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&codes(&many.iter().map(String::as_str).collect::<Vec<_>>())), [100, 100, 50]);
        let long: Vec<String> = (0..40).map(|number| format!("{number:02}{}", "x".repeat(78))).collect();
        assert_eq!(sizes(&codes(&long.iter().map(String::as_str).collect::<Vec<_>>())), [18, 18, 4]);
        assert!(questions(&codes(&["a,b"])).is_empty() && questions(&codes(&[])).is_empty());
    }

    #[test]
    fn an_answer_of_as_many_rows_as_are_asked_for_can_be_read() {
        let meter = |fields: usize| {
            let numeric = (0..fields).map(|number| Arc::from(format!("{number:02}{}", "f".repeat(78)))).collect();
            Meter { id: "i".repeat(36), code: "m".repeat(80).into(), numeric, dimension: None }
        };
        let rows = |fields| meter(fields).rows_max(&meter(fields).aggregations());
        assert_eq!(rows(1), ROWS_MAX);
        assert!((1_000..ROWS_MAX).contains(&rows(15)), "{}", rows(15));
    }

    #[test]
    fn an_account_is_called_as_measurements_call_it() {
        let mut names = Names::default();
        let accounts = Accounts {
            codes: [("1".to_owned(), Arc::from("acme-autocreated")), ("2".to_owned(), "beta".into())].into(),
            is_listed: true,
        };
        let mut code = |id: Option<&str>, code: Option<&str>, known: &[&str]| {
            let whose = Whose { id: id.map(str::to_owned), code: code.map(str::to_owned) };
            accounts.code_of(&whose, &codes(known), &mut names).to_string()
        };
        assert_eq!(code(Some("2"), Some("other"), &[]), "beta");
        assert_eq!(code(Some("1"), None, &["acme"]), "acme");
        assert_eq!(code(Some("1"), None, &["acme", "acme-autocreated"]), "acme-autocreated");
        assert_eq!(code(Some("9"), Some("gamma"), &[]), "gamma");
        assert_eq!(code(Some("9"), None, &[]), "9");
    }
}
