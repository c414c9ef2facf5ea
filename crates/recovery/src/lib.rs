//! What becomes of what was quarantined, and the life of a measurement as the store tells it.
//!
//! Pure, and in the order in which `replay` needs them:
//!
//! 1. [`kept`]: a quarantine entry without its text, and which are selected.
//! 2. [`standing`]: what was done about an entry, and what came of it. The rules for markers are here.
//! 3. [`window`]: how old an entry is to m3ter's memory, and which leave it soon.
//! 4. [`decision`]: may it be sent again, and how?
//! 5. [`message`]: the message that it becomes; [`correction`]: may something mended take its place?
//!
//! [`life`] tells a measurement's story, in order, and ends with one sentence. [`gather`] alone reads the store.
//!
//! Absent: queues, the clock, the terminal. Times come in as arguments, messages go out as values.

pub mod correction;
pub mod decision;
pub mod gather;
pub mod kept;
pub mod life;
pub mod message;
pub mod standing;
pub mod window;
