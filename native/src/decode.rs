//! Many requests into one table.

use crate::appender::Taken;
use crate::check;
use crate::columns::index;
use crate::density::require_sparse;
use crate::json_nodes::Nodes;
use crate::json_traces::JsonReader;
use crate::problems::Problem;
use crate::tables::{Given, Rows, Tables};
use crate::traces::RequestReader;

/// What is allowed, in one request and in one table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages inside messages, in one request.
    pub parts: usize,
    /// Spans in one request.
    pub spans: usize,
    /// Spans in one table of several requests.
    pub spans_together: usize,
    /// Length of all that grows, in one table of several requests.
    pub entries_together: usize,
    /// Bytes that the spans of one request, or of several, repeat.
    pub repeated_bytes: u64,
}

/// What became of a request, and the rows of the plain tables after it.
pub type Outcome = (Result<Taken, Problem>, Rows);

/// One table of many requests.
pub struct Decoded {
    /// The tables in the order of `SpanTable`.
    pub tables: Vec<Given>,
    /// One for each request.
    pub outcomes: Vec<Outcome>,
    /// Length of all that grew.
    pub entries: usize,
    /// Bytes that the spans of all requests repeat.
    pub repeated_bytes: u64,
}

/// One request's bytes.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// OTLP/protobuf.
    Protobuf(&'a [u8]),
    /// OTLP/JSON.
    Json(&'a [u8]),
}

impl Body<'_> {
    fn size(self) -> usize {
        let (Self::Protobuf(bytes) | Self::Json(bytes)) = self;
        bytes.len()
    }
}

/// Decodes each body as the request of its number; none when several are too much for one table.
pub fn decode<'a>(
    bodies: impl Iterator<Item = (usize, Body<'a>)> + Clone,
    limits: &Limits,
    is_alone: bool,
) -> Option<Decoded> {
    let (mut tables, mut nodes, mut outcomes, mut repeated_bytes) = (Tables::default(), Nodes::default(), vec![], 0);
    tables.span_attributes.reserve(bodies.clone().map(|(_, body)| body.size()).sum()); // most bytes are their values
    for (number, body) in bodies {
        let outcome = decode_one(&mut tables, &mut nodes, index(number), body, limits);
        repeated_bytes += outcome.as_ref().map_or(0, |taken| taken.repeated_bytes);
        outcomes.push((outcome, tables.rows()));
        if !is_alone && is_too_much(&mut tables, repeated_bytes, limits) {
            return None;
        }
    }
    let entries = tables.entries();
    Some(Decoded { tables: tables.give(), outcomes, entries, repeated_bytes })
}

/// Appends one request, or nothing of it.
fn decode_one<'a>(
    tables: &mut Tables,
    nodes: &mut Nodes<'a>,
    number: i32,
    body: Body<'a>,
    limits: &Limits,
) -> Result<Taken, Problem> {
    let mark = tables.mark();
    let taken = match body {
        Body::Protobuf(bytes) => read_protobuf(tables, number, bytes, limits),
        Body::Json(bytes) => read_json(tables, nodes, number, bytes, limits),
    };
    let outcome = taken.and_then(|taken| require_bounded(tables, taken, limits));
    if outcome.is_err() {
        tables.roll_back(&mark);
    }
    outcome
}

fn read_protobuf(tables: &mut Tables, number: i32, body: &[u8], limits: &Limits) -> Result<Taken, Problem> {
    require_sparse(body, limits.parts)?;
    let taken = RequestReader::new(tables, number, limits.spans).read(body);
    taken.map_err(|problem| first_problem(body, problem))
}

fn read_json<'a>(
    tables: &mut Tables,
    nodes: &mut Nodes<'a>,
    number: i32,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Taken, Problem> {
    let request = nodes.read(body, limits.parts)?;
    Ok(JsonReader::new(tables, number, limits.spans).read(request)?)
}

fn require_bounded(tables: &mut Tables, taken: Taken, limits: &Limits) -> Result<Taken, Problem> {
    if taken.repeated_bytes > limits.repeated_bytes {
        return Err(Problem::TooMuchRepeated(taken.repeated_bytes));
    }
    if tables.is_too_long() { Err(Problem::TooMuchText) } else { Ok(taken) }
}

/// What protobuf's parser would stop at: it reads in the order of the bytes, and all of them before spans are counted.
fn first_problem(body: &[u8], problem: Problem) -> Problem {
    match problem {
        Problem::Malformed(_) | Problem::TooManySpans => check::request(body).map_or_else(Problem::from, |()| problem),
        _ => problem,
    }
}

fn is_too_much(tables: &mut Tables, repeated_bytes: u64, limits: &Limits) -> bool {
    tables.spans.rows() > limits.spans_together
        || tables.entries() > limits.entries_together
        || repeated_bytes > limits.repeated_bytes
}
