//! The shipped binaries as processes: `target/lambda/ingest-relay/bootstrap` and, in `bulk_upload`, `dead_letter` and `ingest_watch`, the other functions, driven as
//! Lambda drives them, over real sockets.
//!
//! The rule: what is tested here is the file that is deployed, with the settings that a template gives it, and everything
//! outside it can be made to fail. [`world`] starts it, and holds every single delivery, whatever its test is about, to
//! the contract of the answer, to balanced accounts, and to an output that quotes no customer.
//!
//! Absent: a queue that redelivers (a test delivers again itself; `pump` alone has a real one), and AWS beyond three services: the Python tests beside
//! this folder's Rust have an emulator. What needs a clock that can be moved is in `walk`.

#[cfg(test)]
mod brake;
#[cfg(test)]
mod bulk_upload;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod dead_letter;
#[cfg(test)]
mod hanging;
#[cfg(test)]
mod ingest_watch;
#[cfg(test)]
mod m3ter;
#[cfg(test)]
mod payloads;
#[cfg(test)]
mod process;
#[cfg(test)]
mod pump;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod size;
#[cfg(test)]
mod start;
#[cfg(test)]
mod store;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod whole_way;
#[cfg(test)]
mod world;
#[cfg(test)]
mod wrong_answers;
