//! OTLP traces, in protobuf or JSON → the columns of otlp-receiver's `SpanTable`. It knows OTLP, and nothing of GenAI.
//!
//! The Python package `otlp_receiver.decode` does the same and is the oracle: equal tables, equal refusals. Read
//! `decode.rs` (many requests into one table), then `traces.rs` and `wire.rs` (one request in protobuf, its bytes), or
//! `json_traces.rs` and `json_nodes.rs` (the same in JSON, of which whatever is odd is left to Python).

pub mod any_value;
pub mod appender;
pub mod attributes;
pub mod base64;
pub mod check;
pub mod columns;
pub mod declined;
pub mod decode;
pub mod density;
pub mod json;
pub mod json_any_value;
pub mod json_nodes;
pub mod json_strings;
pub mod json_traces;
pub mod json_values;
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
