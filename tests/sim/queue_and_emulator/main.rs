//! The simulation's model of SQS against an emulator of SQS: the same calls, the same answers, the same messages left.
//!
//! The model decides what the relay lives through in `sim`; were it wrong, the proof would be about another queue. So
//! [`scripts`] of calls, each from a seed, go to both. The emulator is called over HTTP with the SDK; its clock stands still and
//! is moved, so nothing waits, and every time is compared to the millisecond. Not part of `sim`, which has no processes and no
//! sockets.
//!
//! What SQS leaves open is free (see [`both`]). Where the emulator is known to differ from AWS the model keeps to AWS, and
//! [`deviations`] has a test that is named for it.
//!
//! Absent: what an emulator never does, that is duplicates, another order, and deletions that do not last. `queue_itself` in
//! `sim` tests those on the model alone.

#[cfg(test)]
mod both;
#[cfg(test)]
mod deviations;
#[cfg(test)]
mod emulator;
#[cfg(test)]
#[path = "../queue.rs"]
#[expect(dead_code, reason = "deletions that do not last are the simulation's alone")]
mod queue;
#[cfg(test)]
mod scripts;
