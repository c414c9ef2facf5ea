//! The proof by simulation: thousands of small worlds in which everything goes wrong, each made from one number.
//!
//! A world is the shipped function (event JSON in, answer JSON and log lines out) with its walk, client, core and store,
//! under tokio's paused clock on one thread; beside it run the job that fetches m3ter's later answer, and in some worlds the one that
//! uploads a file. Only what lies outside is modelled: producers, SQS and its event source mapping, Lambda's environments, m3ter (the
//! sandbox's router behind a network that fails), the secret and the store.
//! Everything a world does follows from its seed, so a failure is repeated by its number: `make sim SEED=n`.
//!
//! The rule: laws are computed from what producers made, what the sandbox counted and what the store holds; what the
//! relay says of itself is held against that, and proves nothing.
//!
//! Read first [`world`], which puts the models together, then [`laws`]. [`plan`] draws a world from its seed, [`fault`]
//! lists what can go wrong, [`run`] runs many worlds and demands that everything really happened in them.
//!
//! The models are tested, too, each beside itself; that of SQS also against an emulator, in `queue_and_emulator`.
//!
//! Absent: wall time, randomness from outside, real processes and sockets (that is `runtime-api` and `e2e`).

#[cfg(test)]
mod alone;
#[cfg(test)]
mod books;
#[cfg(test)]
mod by_file;
#[cfg(test)]
mod courier;
#[cfg(test)]
mod end;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod filed;
#[cfg(test)]
mod inquiry;
#[cfg(test)]
mod known;
#[cfg(test)]
mod lambda;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod m3ter;
#[cfg(test)]
mod made;
#[cfg(test)]
mod mortal;
#[cfg(test)]
mod nature;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod poller;
#[cfg(test)]
mod produce;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod queue_itself;
#[cfg(test)]
mod rejected;
#[cfg(test)]
mod run;
#[cfg(test)]
mod seams;
#[cfg(test)]
mod shelf;
#[cfg(test)]
mod told;
#[cfg(test)]
mod uploader;
#[cfg(test)]
mod watcher;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;
