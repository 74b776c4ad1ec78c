//! Forking once more, on the same seeds, with two exchanges that share the address.

#[path = "forking.rs"]
mod forking;
