//! Cameras of Linux boards.
