//! OTLP/protobuf traces → the columns of otlp-receiver's `SpanTable`. It knows OTLP, and nothing of GenAI.
//!
//! The Python package `otlp_receiver.decode` does the same and is the oracle: equal tables, equal refusals. Read
//! `decode.rs` (many requests into one table), then `traces.rs` (one request), then `wire.rs` (bytes).

pub mod any_value;
pub mod attributes;
pub mod base64;
pub mod check;
pub mod columns;
pub mod decode;
pub mod density;
pub mod json;
pub mod keys;
pub mod kinds;
pub mod numbers;
pub mod problems;
#[cfg(feature = "python")]
mod python;
pub mod records;
pub mod tables;
pub mod traces;
pub mod wire;
