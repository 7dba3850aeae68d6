//! What the project does beside building.

fn main() {}
