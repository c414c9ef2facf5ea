//! The relay's rules, without the relay: what a message holds, what may be sent, in which batches, what an answer means,
//! and what becomes of each message.
//!
//! The stages, in the order in which a measurement meets them:
//!
//! 1. [`decode`]: a message's body to the texts of its measurements.
//! 2. [`guard`]: may it be sent? [`canonical`] is its identity where it brings none.
//!    [`catalogue`]: will m3ter take it for what it is meant to be?
//! 3. [`collapse`]: copies inside one invocation are sent once.
//! 4. [`pack`]: batches that obey both limits.
//! 5. [`judge`]: what m3ter's answer means; [`backoff`]: when to try again.
//! 6. [`settle`]: done or returned, and what is to be quarantined.
//!
//! Every limit is in [`limits`], every reason in [`reason`]; [`misspelt`] knows which setting a mistyped one was meant to be. Text is borrowed from the event, or from an arena where it had
//! to be unescaped or inflated.
//!
//! Absent: I/O, clocks, the environment, randomness, logging. Times and random numbers come in as arguments.

pub mod backoff;
pub mod canonical;
pub mod catalogue;
pub mod collapse;
pub mod decode;
pub mod guard;
pub mod inbound;
mod inflate;
pub mod instant;
pub mod json;
pub mod judge;
pub mod limits;
pub mod misspelt;
pub mod pack;
pub mod pointer;
pub mod read;
pub mod reason;
pub mod settle;
