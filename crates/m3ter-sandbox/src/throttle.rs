//! m3ter's rate limits, by the sandbox's clock.
//!
//! Three shapes: so many in a calendar second of the organisation ("429 for the rest of that second"), so many in a
//! rolling five minutes of one source IP, and a bucket that refills (usage queries). A request that is turned away
//! does not count towards any of them (the sandbox's own choice).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::answer::Refusal;
use crate::clock::has_passed;

/// The rolling window of the per-IP limits (m3ter's documentation: "per rolling 5 minutes").
const IP_WINDOW: Duration = Duration::from_secs(300);

/// Counts one kind of request.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    second: i64,
    in_second: u32,
    by_ip: HashMap<IpAddr, VecDeque<Timestamp>>,
}

impl Throttle {
    /// Lets a request from `peer` through, or says which limit it is beyond.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        peer: IpAddr,
        per_second: Option<u32>,
        per_ip: Option<u32>,
    ) -> Result<(), Refusal> {
        if now.as_second() != self.second {
            self.second = now.as_second();
            self.in_second = 0;
        }
        let recent = self.by_ip.entry(peer).or_default();
        while recent.front().is_some_and(|oldest| has_passed(*oldest, IP_WINDOW, now)) {
            recent.pop_front();
        }
        if per_ip.is_some_and(|most| recent.len() >= most as usize) {
            return Err(Refusal::throttled("too many requests from this address in five minutes"));
        }
        if per_second.is_some_and(|most| self.in_second >= most) {
            return Err(Refusal::throttled("too many requests for this organisation in this second"));
        }
        self.in_second = self.in_second.saturating_add(1);
        if per_ip.is_some() {
            recent.push_back(now);
        }
        Ok(())
    }
}

/// A bucket that holds `burst` tokens and gains `per_second` of them each second.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When the bucket will be full again, if it is not.
    full_at: Option<Timestamp>,
}

impl Bucket {
    /// Takes one token, or says that there is none.
    pub(crate) fn admit(&mut self, now: Timestamp, per_second: Option<u32>, burst: u32) -> Result<(), Refusal> {
        let Some(per_second) = per_second else { return Ok(()) };
        let token = Duration::from_secs(1) / per_second.max(1);
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let next = crate::clock::after(full_at, token);
        if next > crate::clock::after(now, token.saturating_mul(burst)) {
            return Err(Refusal::throttled("too many usage queries"));
        }
        self.full_at = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn the_third_request_of_a_second_waits_for_the_next_second() {
        let mut throttle = Throttle::default();
        for (now, admitted) in [(100, true), (200, true), (900, false), (1_000, true)] {
            assert_eq!(throttle.admit(at(now), PEER, Some(2), None).is_ok(), admitted, "at {now} ms");
        }
    }

    #[test]
    fn the_five_minutes_roll_and_each_address_has_its_own() {
        let mut throttle = Throttle::default();
        for (now, peer, admitted) in [
            (0, PEER, true),
            (200_000, PEER, true),
            (299_999, PEER, false),
            (299_999, OTHER, true),
            (300_000, PEER, true),
            (300_001, PEER, false),
        ] {
            assert_eq!(throttle.admit(at(now), peer, None, Some(2)).is_ok(), admitted, "at {now} ms");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_a_second() {
        let mut bucket = Bucket::default();
        let admitted = (0..12).filter(|_| bucket.admit(at(0), Some(1), 10).is_ok()).count();
        assert_eq!(admitted, 10);
        assert!(bucket.admit(at(999), Some(1), 10).is_err());
        assert!(bucket.admit(at(1_000), Some(1), 10).is_ok());
        assert!(bucket.admit(at(1_001), Some(1), 10).is_err());
    }
}
