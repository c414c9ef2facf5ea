//! The reconciliation over the sandbox's router in process: what m3ter counted against what the ledger says was sent.
//!
//! [`world`] sends measurements as the relay does, to the sandbox and into the ledger, and can leave one of the two out. Its
//! way to m3ter can rename columns and lower limits, since m3ter publishes neither names nor how it ends an answer.
//!
//! Absent: the walk that writes the ledger (`walk` tests that), and the command line (its own tests run it over a socket).

#[cfg(test)]
mod agree;
#[cfg(test)]
mod differ;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod world;
