//! The house rules that a compiler does not hold: who imports whom, what is linked, where the world is read, that one
//! setting and limit means the same in code, template and README, and that every promise names a test that is there.
//!
//! Each rule is that of docs/ARCHITECTURE.md or of the README, and each failure names the place and what was expected.

#[cfg(test)]
mod imports;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod semantics;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod sources;
