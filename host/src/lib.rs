//! The host side of Sedge: what the `sedge` command line is made of. Each folder is the machinery of
//! one verb; `cli` only parses and calls.

pub mod budget;
pub mod cli;
pub mod compare;
pub mod cost;
pub mod data;
pub mod differentiate;
pub mod encoder;
pub mod evaluate;
pub mod export;
pub mod files;
pub mod gpu;
pub mod measure;
pub mod pretrain;
pub mod quickstart;
pub mod report;
pub mod watch;
