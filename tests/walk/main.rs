//! The shipped client, walk and handler in one process, against the sandbox's router, under tokio's paused clock.
//!
//! Only the four ways out are doubles: [`seams`] has them, and each can be told to misbehave. [`world`] puts them
//! together, delivers messages as Lambda does, and holds every single delivery to the promises that have no exception.
//! `socket` and `uploads` alone leave the process, over loopback, since they test the real transport.
//!
//! Absent: the real binary, and what a process can suffer. That is `runtime-api`.

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod blame;
#[cfg(test)]
mod by_file;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod handler;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod later;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod payloads;
#[cfg(test)]
mod preflight;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod seams;
#[cfg(test)]
mod seams_themselves;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod store;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod world;
