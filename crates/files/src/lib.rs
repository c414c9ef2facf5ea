//! Files of measurements: reads them, whatever their format and compression, and holds each measurement against the relay's rules.
//!
//! * [`source`]: opens a file, standard input or whatever else can be read, unpacks it, and tells its format.
//! * [`read`]: hands each measurement of a source to a sink, with its line; [`lines`], [`document`] and [`table`] do it for one format, and a
//!   module of its own for Parquet, with the feature of that name.
//! * [`spread`]: the same, while every core of the processor looks at what is read.
//! * [`columns`]: what the columns of a table make of a row.
//! * [`judge`]: what the relay would say of a measurement.
//! * [`seen`]: copies and conflicts among the measurements of one file.
//!
//! The rule: memory holds one measurement (a few blocks of them for [`spread`]) and, for [`seen`], a bounded number of hashes, however
//! long a file is; of Parquet it holds pages, within a bound. A row that is no measurement is the sink's to judge: whoever sends stops
//! there, whoever looks goes on.
//!
//! Absent: queues, m3ter, the store, the clock and the terminal. What is done with a measurement is its taker's affair.

pub mod columns;
pub mod document;
mod gauge;
pub mod judge;
pub mod lines;
#[cfg(feature = "parquet")]
mod parquet;
pub mod read;
pub mod seen;
pub mod source;
pub mod spread;
pub mod table;
