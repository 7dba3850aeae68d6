//! The reader of recordings from outside: against other libraries' readings, and against files that
//! were cut, damaged or made to lie.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod faults;
mod images;
mod mcap;
mod memory;
mod series;
