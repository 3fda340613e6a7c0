//! The rows of one request, whatever it was encoded in.

use crate::columns::index;
use crate::records::{Link, Scope, Span, has_id};
use crate::tables::Tables;

/// As many refused spans are named.
const MOST_NAMED: usize = 20;

/// A refused span: its indexes (resource, scope, span) and its three ids as sent.
pub type Refused = ([usize; 3], [Vec<u8>; 3]);

/// What became of one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Spans in the table.
    pub spans: usize,
    /// Spans refused for their ids.
    pub refused: usize,
    /// The first of them.
    pub named: Vec<Refused>,
    /// Bytes of resource and scope attributes, counted once for every span that will carry them.
    pub repeated_bytes: u64,
}

/// Appends to the tables; attributes are pushed by who reads them, their owner opened before.
pub struct Appender<'t> {
    /// All of them.
    pub tables: &'t mut Tables,
    /// What was appended so far.
    pub taken: Taken,
    number: i32,
}

impl<'t> Appender<'t> {
    /// Appends as the request of this number.
    pub fn new(tables: &'t mut Tables, number: i32) -> Self {
        Self { tables, taken: Taken::default(), number }
    }

    /// A resource, which the scopes and spans after it belong to.
    pub fn resource(&mut self, schema_url: &[u8], dropped_attributes_count: u32) {
        let resources = &mut self.tables.resources;
        resources.schema_url.push(schema_url);
        resources.dropped_attributes_count.push(dropped_attributes_count);
    }

    /// A scope, which the spans after it belong to.
    pub fn scope(&mut self, scope: &Scope) {
        let scopes = &mut self.tables.scopes;
        scopes.name.push(scope.name);
        scopes.version.push(scope.version);
        scopes.schema_url.push(scope.schema_url);
        scopes.dropped_attributes_count.push(scope.dropped_attributes_count);
    }

    /// Counts the last resource's attributes for every span after the first so many.
    pub fn repeat_resource(&mut self, spans_before: usize) {
        self.repeat(self.tables.resource_attributes.sent_bytes(), spans_before);
    }

    /// Counts the last scope's attributes in the same way.
    pub fn repeat_scope(&mut self, spans_before: usize) {
        self.repeat(self.tables.scope_attributes.sent_bytes(), spans_before);
    }

    fn repeat(&mut self, bytes: u64, spans_before: usize) {
        self.taken.repeated_bytes += bytes * (self.taken.spans - spans_before) as u64;
    }

    /// A span, and which row it is; none when it is refused, which is noted with its place.
    pub fn span(&mut self, span: &Span, place: [usize; 3]) -> Option<i32> {
        if span.is_usable() {
            self.taken.spans += 1;
            return Some(self.append(span));
        }
        self.refuse(span, place);
        None
    }

    #[cold]
    fn refuse(&mut self, span: &Span, place: [usize; 3]) {
        self.taken.refused += 1;
        if self.taken.named.len() < MOST_NAMED {
            let ids = [span.trace_id, span.span_id, span.parent_span_id].map(<[u8]>::to_vec);
            self.taken.named.push((place, ids));
        }
    }

    fn append(&mut self, span: &Span) -> i32 {
        let (resource, scope) = (self.tables.resources.rows(), self.tables.scopes.rows());
        let spans = &mut self.tables.spans;
        spans.request.push(self.number);
        spans.resource.push(index(resource - 1));
        spans.scope.push(index(scope - 1));
        spans.trace_id.push_hex(span.trace_id);
        spans.span_id.push_hex(span.span_id);
        spans.parent_span_id.push_hex(if has_id(span.parent_span_id) { span.parent_span_id } else { &[] });
        spans.trace_state.push(span.trace_state);
        spans.flags.push(span.flags);
        spans.name.push(span.name);
        spans.kind.push(span.kind);
        spans.start_time_unix_nano.push(span.start_time_unix_nano);
        spans.end_time_unix_nano.push(span.end_time_unix_nano);
        spans.dropped_attributes_count.push(span.dropped_attributes_count);
        spans.dropped_events_count.push(span.dropped_events_count);
        spans.dropped_links_count.push(span.dropped_links_count);
        spans.status_code.push(span.status_code);
        spans.status_message.push(span.status_message);
        index(spans.rows() - 1)
    }

    /// An event of a span.
    pub fn event(&mut self, span: i32, time_unix_nano: u64, name: &[u8], dropped_attributes_count: u32) {
        let events = &mut self.tables.events;
        events.span.push(span);
        events.time_unix_nano.push(time_unix_nano);
        events.name.push(name);
        events.dropped_attributes_count.push(dropped_attributes_count);
    }

    /// A link of a span.
    pub fn link(&mut self, span: i32, link: &Link) {
        let links = &mut self.tables.links;
        links.span.push(span);
        links.trace_id.push_hex(link.trace_id);
        links.span_id.push_hex(link.span_id);
        links.trace_state.push(link.trace_state);
        links.flags.push(link.flags);
        links.dropped_attributes_count.push(link.dropped_attributes_count);
    }
}
