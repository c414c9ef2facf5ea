//! The bench itself: it counts exactly, and whoever did not do the work gives no figures.
//!
//! The sink is the bench's own process, and the contenders are real Lambda processes of a function that can be told to go wrong.

mod books;
#[cfg(test)]
mod caught;
mod figures;
#[expect(dead_code, reason = "what only the whole bench uses")]
mod measure;
#[expect(dead_code, reason = "the same")]
mod sink;
#[expect(dead_code, reason = "the same")]
mod work;
