//! The Lambda function that sends files from the store's bucket: what lies below `uploads/` goes to m3ter's file upload service, and a
//! report comes to lie beside it.
//!
//! [`config`] reads the settings, [`notification`] reads what S3 tells of new objects, [`wishes`] what their owners wrote beside them,
//! [`file`](mod@file) does what can be done about one of them, [`handler`] keeps to the deadline and answers,
//! [`visibility`] is the way to the queue, [`metrics`] names every metric. What every function needs is in `lambda-shell`; the job itself
//! is the crate `upload`.
//!
//! The rule: a message is about a file, and stays in the queue until that file has ended, well or badly, and its report lies beside it.
//! So nothing but the queue remembers what is to be gone on with, and a file that is larger than an invocation is no special case.
//!
//! Absent: any rule about rows, parts and m3ter's jobs.

pub mod config;
pub mod file;
pub mod handler;
pub mod metrics;
pub mod notification;
pub mod visibility;
pub mod wishes;
