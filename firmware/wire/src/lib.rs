//! The serial protocol.
#![no_std]
