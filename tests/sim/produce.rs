//! Producers: which messages are sent when, and which measurements each holds. The first list that laws are computed from.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use relay_core::guard::MissingUid;
use serde_json::json;

use crate::fault::Fault;
use crate::filed::Filed;
use crate::known::Known;
use crate::made::{ALONE_BYTES_MAX, Expect, Made, Maker};
use crate::nature::START_MS;
use crate::plan::{Plan, Size};

const DAY_MS: i64 = 24 * 3_600_000;

/// A message that a producer sends.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) at_ms: i64,
    pub(crate) body: String,
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// What stands at each position, as places among the goods.
    pub(crate) items: Vec<usize>,
}

/// Everything that producers send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goods {
    pub(crate) made: Vec<Made>,
    pub(crate) sendings: Vec<Sending>,
    /// The catalogue, in worlds that have one.
    pub(crate) known: Option<Known>,
    /// What comes the other way, in worlds that have it.
    pub(crate) file: Option<Filed>,
    /// Producers' doings that are faults, to be counted when the message goes out.
    pub(crate) retries: u64,
    pub(crate) rivals: u64,
    pub(crate) bad: u64,
    pub(crate) rejected: u64,
}

impl Goods {
    /// The reason for which the catalogue may have a measurement kept.
    pub(crate) fn doubt(&self, made: &Made) -> Option<&'static str> {
        self.known.as_ref()?.doubt(made)
    }
}

struct Producer<'p> {
    plan: &'p Plan,
    rng: &'p mut fastrand::Rng,
    maker: Maker,
    goods: Goods,
    /// How many more that m3ter refuses may be in this message.
    culprits_left: usize,
}

/// Requests that finding one culprit among a thousand may take, twice over.
const CULPRIT_REQUESTS: f64 = 40.0;

/// Makes everything that is sent in the world of `plan`.
pub(crate) fn produce(plan: &Plan, rng: &mut fastrand::Rng) -> Goods {
    let accounts = 1 + plan.measurements / 50;
    let maker = Maker::new(accounts);
    let mut producer = Producer { plan, rng, maker, goods: Goods::default(), culprits_left: 0 };
    while producer.goods.made.len() < plan.measurements {
        producer.message();
    }
    producer.specials();
    let Producer { mut maker, mut goods, .. } = producer;
    goods.known = Known::draw(plan.seed, accounts);
    goods.sendings.sort_by_key(|sending| sending.at_ms);
    goods.file = Filed::draw(plan, &mut maker, &mut goods);
    goods
}

impl Producer<'_> {
    fn chance(&mut self, fault: Fault) -> bool {
        self.rng.f64() < self.plan.rate(fault)
    }

    fn moment(&mut self) -> i64 {
        self.rng.i64(START_MS..=self.plan.produced_ms)
    }

    /// One message of new measurements; perhaps a retry of it later.
    fn message(&mut self) {
        let at_ms = self.moment();
        let wanted = self.rng.usize(1..=self.plan.per_message).min(self.plan.measurements + 20 - self.goods.made.len());
        let first = self.goods.made.len();
        self.culprits_left = self.culprits_max();
        while self.goods.made.len() < first + wanted {
            let made = self.measurement(at_ms);
            self.goods.made.push(made);
        }
        let mut items: Vec<usize> = (first..self.goods.made.len()).collect();
        if items.len() > 1 && !items.iter().any(|place| self.goods.made[*place].is_object()) {
            items.truncate(1);
            self.goods.made.truncate(first + 1);
        }
        self.send(at_ms, items.clone());
        if self.chance(Fault::ProducerRetry) {
            self.goods.retries += 1;
            let part = self.rng.usize(1..=items.len());
            items.truncate(part);
            let is_whole = items.len() > 1 && !items.iter().any(|place| self.goods.made[*place].is_object());
            let again_ms = at_ms + self.rng.i64(0..=self.plan.faults_end_ms - at_ms - 1);
            if !is_whole {
                self.send(again_ms, items);
            }
        }
    }

    /// More culprits in one message than an invocation has time to find keep it in the queue until it is exhausted: that is
    /// not promised otherwise (docs/SEMANTICS.md).
    fn culprits_max(&self) -> usize {
        let submitting_s = self.plan.timeout_ms as f64 / 1_000.0 * 0.8;
        ((self.plan.share() * submitting_s / CULPRIT_REQUESTS) as usize).max(1)
    }

    fn measurement(&mut self, at_ms: i64) -> Made {
        if self.chance(Fault::BadMeasurement) {
            self.goods.bad += 1;
            return self.maker.bad(self.rng, at_ms, self.plan.missing_uid == MissingUid::Content);
        }
        if self.chance(Fault::RefusedMeasurement) && self.culprits_left > 0 {
            self.culprits_left -= 1;
            return self.maker.refused_by_api(self.rng, at_ms);
        }
        if self.chance(Fault::LateRejection) {
            self.goods.rejected += 1;
            return self.maker.rejected(self.rng, at_ms);
        }
        if self.chance(Fault::TwoContents) && !self.goods.made.is_empty() {
            let other = self.rng.usize(..self.goods.made.len());
            if matches!(self.goods.made[other].expect, Expect::Good | Expect::Rival)
                && !self.goods.made[other].text.contains("unique")
            {
                self.goods.rivals += 1;
                self.goods.made[other].expect = Expect::Rival;
                let other = self.goods.made[other].clone();
                return self.maker.rival(self.rng, &other, at_ms);
            }
        }
        if self.plan.missing_uid == MissingUid::Content && self.rng.f64() < 0.2 {
            return self.maker.without_uid(self.rng, at_ms);
        }
        if self.rng.f64() < 0.004 {
            return self.maker.ahead(self.rng, at_ms);
        }
        let filler = if self.plan.size == Size::Heavy { self.rng.usize(1_000..20_000) } else { 0 };
        self.maker.good(self.rng, at_ms, filler)
    }

    /// Sends `items` in one of the shapes that a message may have.
    fn send(&mut self, at_ms: i64, items: Vec<usize>) {
        let texts: Vec<&str> = items.iter().map(|place| self.goods.made[*place].text.as_str()).collect();
        let broken = texts.iter().any(|text| text.starts_with("{canary-broken"));
        let lines = || texts.join("\n");
        let array = || format!("[{}]", texts.join(","));
        let mut attributes = Vec::new();
        let draw = if self.plan.size == Size::Heavy { self.rng.usize(..3) } else { self.rng.usize(..8) };
        let mut body = match draw {
            _ if broken => lines(),
            _ if items.len() == 1 && self.rng.bool() => texts[0].to_owned(),
            0 | 1 => format!(r#"{{"measurements":{}}}"#, array()),
            2 | 3 => array(),
            4 | 5 => lines(),
            6 => json!({"Type": "Notification", "MessageId": "x", "Message": array()}).to_string(),
            _ => format!(r#"{{"version":"0","detail-type":"usage","account":"1","detail":{{"measurements":{}}}}}"#, array()),
        };
        if self.rng.f64() < 0.1 {
            body = gzip(body.as_bytes());
            attributes.push(("Content-Encoding", "gzip".to_owned()));
        }
        self.goods.sendings.push(Sending { at_ms, body, attributes, items });
    }

    /// A message that is refused, or kept, as a whole.
    fn whole(&mut self, body: String, attributes: Vec<(&'static str, String)>, expect: Expect) {
        let at_ms = self.moment();
        let made = Made { uid: None, text: body.clone(), may_change: false, n: 0, expect };
        self.goods.made.push(made);
        let items = vec![self.goods.made.len() - 1];
        self.goods.sendings.push(Sending { at_ms, body, attributes, items });
    }

    /// What few worlds have, and no more than once.
    fn specials(&mut self) {
        let encoded = || vec![("Content-Encoding", "gzip".to_owned())];
        if self.plan.has(Fault::BadMeasurement) {
            let several: [(&str, Vec<_>, &str); 6] = [
                ("canary body", Vec::new(), "NotJson"),
                ("[]", Vec::new(), "Empty"),
                (r#"{"detail-type":"canary"}"#, Vec::new(), "EnvelopeInvalid"),
                ("\"canary\"", Vec::new(), "NotAMeasurement"),
                ("canary, not base64", encoded(), "EnvelopeInvalid"),
                ("[ ]", Vec::new(), "Empty"),
            ];
            for (body, attributes, reason) in several {
                if self.rng.f64() < 0.3 {
                    self.goods.bad += 1;
                    self.whole(body.to_owned(), attributes, Expect::Refused(reason));
                }
            }
        }
        if self.rng.f64() < 0.03 && self.plan.size != Size::Crowd {
            let pointer = r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"canary","s3Key":"canary"}]"#;
            self.whole(pointer.to_owned(), Vec::new(), Expect::Pointer);
        }
        if self.rng.f64() < 0.1 {
            self.replayed();
        }
        if self.plan.size == Size::Heavy {
            self.boundaries();
            if self.rng.f64() < 0.3 {
                self.two_that_fill();
            }
        }
        if self.plan.size == Size::Inflated {
            self.inflated();
        }
    }

    /// A message that says it was first sent longer ago than m3ter remembers.
    fn replayed(&mut self) {
        let at_ms = self.moment();
        let first = self.goods.made.len();
        for _ in 0..self.rng.usize(1..=5) {
            let mut made = self.maker.good(self.rng, at_ms - 40 * DAY_MS, 0);
            (made.uid, made.expect) = (None, Expect::Refused("OutsideWindow"));
            self.goods.made.push(made);
        }
        self.send(at_ms, (first..self.goods.made.len()).collect());
        let sent = ("usage-relay-first-sent-at", (at_ms - 36 * DAY_MS).to_string());
        self.goods.sendings.last_mut().unwrap().attributes.push(sent);
    }

    /// Measurements as large as may be, and one byte larger.
    fn boundaries(&mut self) {
        let alone = [ALONE_BYTES_MAX, ALONE_BYTES_MAX + 1, 490_000];
        for bytes in alone {
            if self.rng.f64() < 0.3 {
                let at_ms = self.moment();
                let made = self.maker.of_bytes(self.rng, at_ms, bytes);
                self.goods.made.push(made);
                let items = vec![self.goods.made.len() - 1];
                let body = self.goods.made[items[0]].text.clone();
                self.goods.sendings.push(Sending { at_ms, body, attributes: Vec::new(), items });
            }
        }
    }

    /// Two measurements that fill a request to the byte, or are one byte too much for it.
    fn two_that_fill(&mut self) {
        let at_ms = self.moment();
        let first = self.goods.made.len();
        let half = ALONE_BYTES_MAX / 2;
        for bytes in [half, ALONE_BYTES_MAX - 1 - half + self.rng.usize(0..=1)] {
            let made = self.maker.of_bytes(self.rng, at_ms, bytes);
            self.goods.made.push(made);
        }
        self.send(at_ms, vec![first, first + 1]);
    }

    /// Small messages that inflate to almost four mebibytes each, at the same moment; and one that is a bomb.
    fn inflated(&mut self) {
        let at_ms = self.moment();
        for _ in 0..10 {
            let made = self.maker.good(self.rng, at_ms, 0);
            let blank = " ".repeat(4 * 1024 * 1024 - made.text.len());
            let body = gzip(format!("{}{blank}", made.text).as_bytes());
            self.goods.made.push(made);
            let items = vec![self.goods.made.len() - 1];
            self.goods.sendings.push(Sending { at_ms, body, attributes: vec![("Content-Encoding", "gzip".to_owned())], items });
        }
        let bomb = gzip(" ".repeat(4 * 1024 * 1024 + 1).as_bytes());
        self.whole(bomb, vec![("Content-Encoding", "gzip".to_owned())], Expect::Refused("Oversize"));
    }
}

fn gzip(bytes: &[u8]) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    STANDARD.encode(encoder.finish().unwrap())
}
