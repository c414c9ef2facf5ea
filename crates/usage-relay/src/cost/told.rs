//! The answer: as text that can be read aloud, as a table for a README, as JSON.

use serde_json::{Value, json};

use super::measured::Bench;
use super::model::{Invocation, Load, MONTH_S, Part, assumed, stack};
use super::prices;
use crate::figures::grouped;

/// What one load costs.
#[derive(Debug)]
pub(super) struct Answer {
    load: Load,
    invocation: Invocation,
    bill: Vec<Part>,
    /// What Lambda charges for each contender that does the same work, the relay first: title, its invocation, dollars a month.
    lambda: Vec<(&'static str, Invocation, f64)>,
    /// When and on what it was measured.
    measured: String,
}

impl Answer {
    /// What `load` costs by the figures of `bench`.
    pub(super) fn of(load: Load, bench: &Bench) -> Self {
        let lambda: Vec<_> = bench
            .contenders()
            .into_iter()
            .enumerate()
            .map(|(place, (title, cpu))| {
                let invocation = load.invocation(cpu, place == 0);
                (title, invocation, load.lambda(&invocation).iter().sum())
            })
            .collect();
        let none =
            || Invocation { per_second: 0.0, messages: 0.0, measurements: 0.0, requests: 0.0, cpu_ms: 0.0, billed_ms: 0.0 };
        let invocation = lambda.first().map_or_else(none, |(_, invocation, _)| *invocation);
        let measured = format!("{}, {}", bench.date, bench.machine);
        Self { load, invocation, bill: load.bill(&invocation), lambda, measured }
    }

    fn total(&self) -> f64 {
        self.bill.iter().map(|part| part.dollars).sum()
    }

    fn a_million(&self, dollars: f64) -> f64 {
        dollars / (self.load.per_second * MONTH_S) * 1_000_000.0
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Load { per_second, per_message, bytes, memory_mb, .. } = self.load;
        let mut lines = vec![
            format!(
                "{} a second, {} in a message, {} bytes each, {} MB: {} dollars a month, {} for a million measurements",
                some(per_second, "measurement"),
                number(per_message),
                number(bytes),
                number(memory_mb),
                cents(self.total()),
                fine(self.a_million(self.total())),
            ),
            String::new(),
            row("", "a month", "a million"),
        ];
        lines.extend(self.bill.iter().map(|part| row(part.title, &cents(part.dollars), &fine(self.a_million(part.dollars)))));
        lines.push(row("all of it", &cents(self.total()), &fine(self.a_million(self.total()))));
        lines.push(String::new());
        lines.push(self.invocation_text());
        lines.push(String::new());
        lines.push("What Lambda charges for the invocations and their time, for the relay and for others that do its work without a ledger:".into());
        let own = self.lambda.first().map_or(0.0, |(_, _, dollars)| *dollars);
        lines.extend(self.lambda.iter().map(|(title, _, dollars)| {
            let line = row(title, &cents(*dollars), &fine(self.a_million(*dollars)));
            format!("{line}  {:.1} times", dollars / own)
        }));
        lines.extend(self.notes().into_iter().map(|note| format!("\nNote: {note}.")));
        lines.push("\nThis assumes:".into());
        lines.extend(self.assumes().into_iter().map(|one| format!("  {one}")));
        lines.join("\n")
    }

    fn invocation_text(&self) -> String {
        let Invocation { per_second, messages, measurements, requests, cpu_ms, billed_ms } = self.invocation;
        format!(
            "An invocation of the relay holds {} with {} and makes {}; it takes {} ms of a core and is billed for {} ms. There are {} a \
             month.",
            some(messages, "message"),
            some(measurements, "measurement"),
            some(requests, "request"),
            number(cpu_ms),
            number(billed_ms),
            number(per_second * MONTH_S),
        )
    }

    /// Where the defaults do not carry the load.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let requests = self.invocation.requests_per_second();
        if requests > stack::REQUESTS_PER_SECOND {
            let most = stack::REQUESTS_PER_SECOND;
            notes.push(format!(
                "this load makes {} requests a second to m3ter. RequestsPerSecond is {most} unless you set it, and m3ter takes 50",
                number(requests)
            ));
        }
        let at_once = self.invocation.at_once();
        if at_once > stack::CONCURRENCY {
            let most = stack::CONCURRENCY;
            notes.push(format!(
                "this load keeps {} invocations running. MaximumConcurrency is {most} unless you set it",
                number(at_once)
            ));
        }
        notes
    }

    fn assumes(&self) -> Vec<String> {
        let share = number((self.load.memory_mb / 17.69).min(100.0));
        vec![
            format!("{}", prices::WHAT),
            "the template's defaults, and a load that comes evenly, without failures".into(),
            format!("processor time as make bench measured it: {}", self.measured),
            format!("a core of Lambda as fast as that machine's, of which {} MB have {share} %", number(self.load.memory_mb)),
            format!(
                "m3ter answers in {} ms and S3 in {} ms, and no work is done meanwhile",
                number(assumed::M3TER_ANSWER_S * 1_000.0),
                number(assumed::S3_ANSWER_S * 1_000.0)
            ),
            format!("{} pollers share the load, and each gathers for {} s", stack::CONCURRENCY, stack::WINDOW_S),
            format!(
                "producers send {} messages in a call; a receive takes {} ms and brings what has come since, at most ten",
                assumed::SENT_TOGETHER,
                number(assumed::RECEIVE_S * 1_000.0)
            ),
            format!(
                "a line of the ledger is {} bytes, packed, and an invocation logs {}",
                assumed::LEDGER_BYTES,
                number(assumed::LOG_BYTES)
            ),
            format!(
                "{} metrics, {} alarms; ingest-watch looks every {} minutes for {} s",
                stack::METRICS,
                stack::ALARMS,
                stack::WATCH_MINUTES,
                assumed::WATCH_S
            ),
        ]
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Load { per_second, per_message, bytes, memory_mb, .. } = self.load;
        let Invocation { messages, measurements, requests, cpu_ms, billed_ms, .. } = self.invocation;
        let dollars = |dollars: f64| json!({"dollars_a_month": dollars, "dollars_a_million": self.a_million(dollars)});
        let parts: serde_json::Map<String, Value> =
            self.bill.iter().map(|part| (part.name.to_owned(), dollars(part.dollars))).collect();
        let lambda: Vec<Value> = self
            .lambda
            .iter()
            .map(|(title, invocation, month)| {
                let a_million = self.a_million(*month);
                let (cpu_ms, billed_ms) = (invocation.cpu_ms, invocation.billed_ms);
                json!({"what": title, "cpu_ms": cpu_ms, "billed_ms": billed_ms, "dollars_a_month": month, "dollars_a_million": a_million})
            })
            .collect();
        json!({
            "per_second": per_second, "per_message": per_message, "bytes": bytes, "memory_mb": memory_mb,
            "total": dollars(self.total()),
            "parts": parts,
            "invocation": {
                "a_month": self.invocation.per_second * MONTH_S, "messages": messages, "measurements": measurements,
                "requests": requests, "cpu_ms": cpu_ms, "billed_ms": billed_ms,
            },
            "lambda": lambda,
            "notes": self.notes(),
            "assumes": self.assumes(),
        })
    }
}

/// A table in Markdown of what `loads` cost.
pub(super) fn table(loads: &[Load], bench: &Bench) -> String {
    let answers: Vec<Answer> = loads.iter().map(|load| Answer::of(*load, bench)).collect();
    let titles: Vec<&str> = bench.contenders().iter().map(|(title, _)| *title).collect();
    let lambda: Vec<String> = titles.iter().map(|title| format!("Lambda alone: {title}")).collect();
    let mut lines = vec![
        format!(
            "| Measurements a second | In a message | All of it, a month | A million measurements | {} |",
            lambda.join(" | ")
        ),
        format!("|---:|---:|---:|---:|{}", "---:|".repeat(lambda.len())),
    ];
    for answer in &answers {
        let own = answer.lambda.first().map_or(0.0, |(_, _, dollars)| *dollars);
        let cells: Vec<String> = answer
            .lambda
            .iter()
            .enumerate()
            .map(|(place, (_, _, dollars))| match place {
                0 => format!("${}", cents(*dollars)),
                _ => format!("${} ({:.1} ×)", cents(*dollars), dollars / own),
            })
            .collect();
        lines.push(format!(
            "| {} | {} | ${} | ${} | {} |",
            number(answer.load.per_second),
            number(answer.load.per_message),
            cents(answer.total()),
            fine(answer.a_million(answer.total())),
            cells.join(" | ")
        ));
    }
    let measured = answers.first().map_or_else(String::new, |answer| answer.measured.clone());
    let bytes = loads.first().map_or(0.0, |load| load.bytes);
    lines.push(format!(
        "\n`usage-relay cost --table`: {}; measurements of {} bytes; processor time measured {measured}.",
        prices::WHAT,
        number(bytes)
    ));
    lines.join("\n")
}

fn row(title: &str, month: &str, million: &str) -> String {
    format!("  {title:42} {month:>12} {million:>12}")
}

/// With two decimals and grouped: dollars.
fn cents(dollars: f64) -> String {
    let cents = (dollars * 100.0).round().max(0.0) as u64;
    format!("{}.{:02}", grouped(cents / 100), cents % 100)
}

/// Four decimals below ten, two above.
fn fine(dollars: f64) -> String {
    if dollars >= 10.0 { cents(dollars) } else { format!("{dollars:.4}") }
}

/// As short as it is still said: whole from 100 on, one decimal from 10 on, else two digits that say something.
fn number(number: f64) -> String {
    if number >= 100.0 {
        return grouped(number.round() as u64);
    }
    let decimals = if number >= 10.0 {
        1
    } else if number >= 0.1 {
        2
    } else {
        4
    };
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1 request`, `2 requests`.
fn some(count: f64, noun: &str) -> String {
    let count = number(count);
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
