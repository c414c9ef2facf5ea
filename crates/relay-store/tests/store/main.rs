//! The store as its callers see it: on a folder and in memory.

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod given;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod theirs;
#[cfg(test)]
mod trouble;
