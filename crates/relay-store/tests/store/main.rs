//! The store as its callers see it: on a folder and in memory.

#[cfg(test)]
mod given;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod trouble;
