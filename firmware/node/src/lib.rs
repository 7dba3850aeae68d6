//! The microcontroller node.
#![no_std]
