//! The rules of relay-core as promises that hold for any input, and for the corpus of message bodies.
//!
//! One binary: a linker's time is longer than these tests'. The same seed every time: a failure comes back.

#[cfg(test)]
mod collapse;
#[cfg(test)]
#[path = "../../../../tests/fixtures/corpus/corpus.rs"]
mod corpus;
#[cfg(test)]
mod decode;
#[cfg(test)]
mod given;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod linear;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod settle;
#[cfg(test)]
mod whole_corpus;
