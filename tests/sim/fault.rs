//! Everything that can go wrong, and how likely it is.

/// A fault. Each strikes by chance at every opportunity, lasts for a while, or is a property of a whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// m3ter's answer comes up to 40 s late; it counted on arrival.
    Delay,
    /// For a while every answer is 429.
    Storm,
    /// 500, 502, 503, 504, 408 or 409; nothing counted.
    ServerError,
    /// An error status for a request that m3ter took.
    TakenThenError,
    /// The connection breaks before the request is whole.
    Reset,
    /// The answer breaks off half-way; m3ter took the request.
    Truncated,
    /// m3ter took the request; no answer comes.
    AnswerLost,
    /// The request arrives long after the relay gave it up.
    LateArrival,
    /// A proxy answers: HTML, other 2xx, redirects, JSON that does not say accepted.
    OddAnswer,
    /// m3ter turns down a token that the relay holds for good.
    TokenExpiry,
    /// m3ter's credentials change; the secret follows at once or later.
    Rotation,
    /// The secret holds wrong credentials for a while.
    WrongSecret,
    /// The secret cannot be read.
    SecretUnreadable,
    /// The token endpoint fails.
    TokenEndpoint,
    /// A proxy answers 403 to bodies that m3ter would still take.
    SizeProxy,
    /// A measurement that only m3ter knows to be wrong: it refuses the whole request.
    RefusedMeasurement,
    /// A measurement that m3ter accepts and rejects afterwards.
    LateRejection,
    /// For a while the service user may not submit: 403.
    NoPermission,
    /// An environment that speaks to another host than m3ter.
    WrongHost,
    /// A put fails.
    PutFails,
    /// A put is done, but the answer is lost.
    PutAnswerLost,
    /// A put never ends.
    PutHangs,
    /// For a while no put works.
    StoreDown,
    /// A call for a visibility timeout fails, in part, whole, or by silence.
    DelayFails,
    /// An environment whose clock is up to four minutes wrong.
    ClockSkew,
    /// A producer sends the same measurements again in another message.
    ProducerRetry,
    /// A producer gives one uid two contents.
    TwoContents,
    /// A measurement or a body that the relay's own rules refuse.
    BadMeasurement,
    /// m3ter is away for days.
    Outage,
    /// The process is killed at some await.
    Kill,
    /// The process is not scheduled for a while; Lambda may time it out.
    Stall,
    /// Something panics inside an invocation.
    Panic,
    /// A connection that died while the environment was frozen.
    DeadConnection,
    /// The queue delivers a message twice at the same time, or twice in one event.
    DuplicateDelivery,
    /// The queue delivers a message again that was deleted.
    Undeleted,
    /// The queue gives a message up after a few receives.
    FewReceives,
    /// Lambda leaves attributes of a record out.
    OddRecord,
    /// The function's answer never reaches the event source mapping.
    ResponseLost,
    /// An event is not listed until some time after it was raised, up to six hours.
    ListedLate,
    /// Events stand more than once in a page.
    ListedTwice,
    /// Pages of events move while they are read: some events are listed again, some not at all.
    PagesShift,
    /// The log of an event cannot be fetched.
    LogFails,
    /// The link to a log has expired when it is followed.
    LinkExpired,
}

/// From here on are the faults on the way to m3ter's events, which only the job that fetches them meets.
pub(crate) const OF_THE_RELAY: usize = Fault::ListedLate as usize;

/// How often a fault occurs: in which share of worlds, and there with a chance per opportunity between two bounds.
pub(crate) struct Likelihood {
    pub(crate) fault: Fault,
    pub(crate) worlds: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

const fn likely(fault: Fault, worlds: f64, least: f64, most: f64) -> Likelihood {
    Likelihood { fault, worlds, least, most }
}

/// Every fault with its likelihood, in the order of declaration. What lasts for a while or is a property of a world has a
/// chance of 1.
pub(crate) const FAULTS: [Likelihood; 43] = [
    likely(Fault::Delay, 0.35, 0.01, 0.2),
    likely(Fault::Storm, 0.25, 1.0, 1.0),
    likely(Fault::ServerError, 0.35, 0.02, 0.4),
    likely(Fault::TakenThenError, 0.3, 0.02, 0.3),
    likely(Fault::Reset, 0.3, 0.02, 0.3),
    likely(Fault::Truncated, 0.3, 0.02, 0.3),
    likely(Fault::AnswerLost, 0.35, 0.02, 0.4),
    likely(Fault::LateArrival, 0.3, 0.02, 0.2),
    likely(Fault::OddAnswer, 0.3, 0.02, 0.3),
    likely(Fault::TokenExpiry, 0.3, 1.0, 1.0),
    likely(Fault::Rotation, 0.3, 1.0, 1.0),
    likely(Fault::WrongSecret, 0.3, 1.0, 1.0),
    likely(Fault::SecretUnreadable, 0.3, 0.05, 0.6),
    likely(Fault::TokenEndpoint, 0.3, 0.05, 0.5),
    likely(Fault::SizeProxy, 0.6, 1.0, 1.0),
    likely(Fault::RefusedMeasurement, 0.3, 0.002, 0.01),
    likely(Fault::LateRejection, 0.3, 0.005, 0.05),
    likely(Fault::NoPermission, 0.3, 1.0, 1.0),
    likely(Fault::WrongHost, 0.2, 0.1, 0.5),
    likely(Fault::PutFails, 0.3, 0.05, 0.5),
    likely(Fault::PutAnswerLost, 0.3, 0.05, 0.5),
    likely(Fault::PutHangs, 0.3, 0.05, 0.3),
    likely(Fault::StoreDown, 0.35, 1.0, 1.0),
    likely(Fault::DelayFails, 0.4, 0.05, 0.6),
    likely(Fault::ClockSkew, 0.3, 0.5, 1.0),
    likely(Fault::ProducerRetry, 0.4, 0.05, 0.4),
    likely(Fault::TwoContents, 0.3, 0.005, 0.05),
    likely(Fault::BadMeasurement, 0.6, 0.005, 0.08),
    likely(Fault::Outage, 0.08, 1.0, 1.0),
    likely(Fault::Kill, 0.4, 0.05, 0.4),
    likely(Fault::Stall, 0.3, 0.03, 0.2),
    likely(Fault::Panic, 0.3, 0.002, 0.03),
    likely(Fault::DeadConnection, 0.4, 0.2, 1.0),
    likely(Fault::DuplicateDelivery, 0.35, 0.02, 0.3),
    likely(Fault::Undeleted, 0.3, 0.02, 0.3),
    likely(Fault::FewReceives, 0.25, 1.0, 1.0),
    likely(Fault::OddRecord, 0.3, 0.02, 0.3),
    likely(Fault::ResponseLost, 0.3, 0.03, 0.3),
    likely(Fault::ListedLate, 0.4, 0.02, 0.5),
    likely(Fault::ListedTwice, 0.4, 0.2, 0.8),
    likely(Fault::PagesShift, 0.5, 0.3, 0.9),
    likely(Fault::LogFails, 0.35, 0.01, 0.3),
    likely(Fault::LinkExpired, 0.35, 0.02, 0.4),
];

impl Fault {
    /// Its place in [`FAULTS`].
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

#[test]
fn every_fault_stands_in_its_own_place() {
    for (place, likelihood) in FAULTS.iter().enumerate() {
        assert_eq!(likelihood.fault.place(), place, "{:?}", likelihood.fault);
    }
}
