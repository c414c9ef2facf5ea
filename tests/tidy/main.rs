//! The house rules that a compiler does not hold: who imports whom, what is linked, where the world is read, and that one
//! setting means the same in code, template and README.
//!
//! Each rule is that of docs/ARCHITECTURE.md or of the README, and each failure names the place and what was expected.

#[cfg(test)]
mod imports;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod sources;
