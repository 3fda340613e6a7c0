//! One `ExportTraceServiceRequest` into the tables.
//!
//! A message is gone through twice where what comes late on the wire is needed first: the fields of a span decide
//! whether it is taken at all. What holds messages is only passed over then, so that the work stays linear.

use crate::any_value::low_bits;
use crate::check;
use crate::columns::index;
use crate::kinds::Kind;
use crate::problems::Problem;
use crate::records::{Link, Span, has_id, set};
use crate::tables::Tables;
use crate::wire::{Depth, Malformed, Pieces, Value, fields};

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

/// Reads one request.
pub struct RequestReader<'t> {
    tables: &'t mut Tables,
    number: i32,
    most_spans: usize,
    taken: Taken,
}

type Done = Result<(), Problem>;

impl<'t> RequestReader<'t> {
    /// Appends to `tables`, as request `number`, at most so many spans.
    pub fn new(tables: &'t mut Tables, number: i32, most_spans: usize) -> Self {
        Self { tables, number, most_spans, taken: Taken::default() }
    }

    /// Appends a whole request; after a problem the tables hold some of it.
    pub fn read(mut self, body: &[u8]) -> Result<Taken, Problem> {
        let mut resource = 0;
        fields(body, Depth::OUTERMOST, |field| {
            if let (1, Value::Bytes(resource_spans)) = field {
                self.resource_spans(resource_spans, resource)?;
                resource += 1;
            }
            Ok::<_, Problem>(())
        })?;
        Ok(self.taken)
    }

    fn resource_spans(&mut self, message: &[u8], place: usize) -> Done {
        let depth = Depth::OUTERMOST.deeper()?;
        let (mut resource, mut schema_url) = (Pieces::default(), &[][..]);
        fields(message, depth, |field| {
            match field {
                (1, Value::Bytes(piece)) => resource.push(piece),
                (3, Value::Bytes(text)) => schema_url = text,
                _ => {}
            }
            Ok::<_, Malformed>(())
        })?;
        self.resource(&resource, schema_url, depth)?;
        let (before, mut scope) = (self.taken.spans, 0);
        fields(message, depth, |field| {
            if let (2, Value::Bytes(scope_spans)) = field {
                self.scope_spans(scope_spans, depth, [place, scope])?;
                scope += 1;
            }
            Ok::<_, Problem>(())
        })?;
        let bytes = self.tables.resource_attributes.sent_bytes();
        self.taken.repeated_bytes += bytes * (self.taken.spans - before) as u64;
        Ok(())
    }

    fn resource(&mut self, resource: &Pieces, schema_url: &[u8], outer: Depth) -> Done {
        let (attributes, mut dropped) = (&mut self.tables.resource_attributes, 0);
        attributes.open();
        resource.fields(outer, |depth, field| match field {
            (1, Value::Bytes(pair)) => attributes.push(pair, depth),
            (2, Value::Number(bits)) => set(&mut dropped, low_bits(bits)),
            (3, Value::Bytes(entity)) => check::inner(Kind::EntityRef, entity, depth),
            _ => Ok(()),
        })?;
        self.tables.resources.schema_url.push(schema_url);
        self.tables.resources.dropped_attributes_count.push(dropped);
        Ok(())
    }

    fn scope_spans(&mut self, message: &[u8], outer: Depth, place: [usize; 2]) -> Done {
        let depth = outer.deeper()?;
        let (mut scope, mut schema_url, mut spans) = (Pieces::default(), &[][..], 0);
        fields(message, depth, |field| {
            match field {
                (1, Value::Bytes(piece)) => scope.push(piece),
                (2, Value::Bytes(_)) => spans += 1,
                (3, Value::Bytes(text)) => schema_url = text,
                _ => {}
            }
            Ok::<_, Malformed>(())
        })?;
        self.scope(&scope, schema_url, depth)?;
        if self.taken.spans + spans > self.most_spans {
            return Err(Problem::TooManySpans);
        }
        self.spans(message, depth, place)
    }

    fn spans(&mut self, scope_spans: &[u8], depth: Depth, [resource, scope]: [usize; 2]) -> Done {
        let (before, mut span) = (self.taken.spans, 0);
        fields(scope_spans, depth, |field| {
            if let (2, Value::Bytes(message)) = field {
                self.span(message, depth, [resource, scope, span])?;
                span += 1;
            }
            Ok::<_, Malformed>(())
        })?;
        let bytes = self.tables.scope_attributes.sent_bytes();
        self.taken.repeated_bytes += bytes * (self.taken.spans - before) as u64;
        Ok(())
    }

    fn scope(&mut self, scope: &Pieces, schema_url: &[u8], outer: Depth) -> Result<(), Malformed> {
        let (scopes, attributes) = (&mut self.tables.scopes, &mut self.tables.scope_attributes);
        let (mut name, mut version, mut dropped) = (&[][..], &[][..], 0);
        attributes.open();
        scope.fields(outer, |depth, field| match field {
            (1, Value::Bytes(text)) => set(&mut name, text),
            (2, Value::Bytes(text)) => set(&mut version, text),
            (3, Value::Bytes(pair)) => attributes.push(pair, depth),
            (4, Value::Number(bits)) => set(&mut dropped, low_bits(bits)),
            _ => Ok(()),
        })?;
        scopes.name.push(name);
        scopes.version.push(version);
        scopes.schema_url.push(schema_url);
        scopes.dropped_attributes_count.push(dropped);
        Ok(())
    }

    fn span(&mut self, message: &[u8], outer: Depth, place: [usize; 3]) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let span = Span::read(message, depth)?;
        if !span.is_usable() {
            self.refuse(&span, place);
            return check::inner(Kind::Span, message, outer);
        }
        let row = self.append(&span);
        self.taken.spans += 1;
        self.tables.span_attributes.open();
        fields(message, depth, |field| match field {
            (9, Value::Bytes(pair)) => self.tables.span_attributes.push(pair, depth),
            (11, Value::Bytes(event)) => self.event(event, depth, row),
            (13, Value::Bytes(link)) => self.link(link, depth, row),
            _ => Ok(()),
        })
    }

    #[cold]
    fn refuse(&mut self, span: &Span, place: [usize; 3]) {
        self.taken.refused += 1;
        if self.taken.named.len() < MOST_NAMED {
            let ids = [span.trace_id, span.span_id, span.parent_span_id].map(<[u8]>::to_vec);
            self.taken.named.push((place, ids));
        }
    }

    /// Appends the row of a span, and says which it is.
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

    fn event(&mut self, message: &[u8], outer: Depth, span: i32) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let (events, attributes) = (&mut self.tables.events, &mut self.tables.event_attributes);
        let (mut time, mut name, mut dropped) = (0, &[][..], 0);
        attributes.open();
        fields(message, depth, |field| match field {
            (1, Value::Fixed64(bits)) => set(&mut time, bits),
            (2, Value::Bytes(text)) => set(&mut name, text),
            (3, Value::Bytes(pair)) => attributes.push(pair, depth),
            (4, Value::Number(bits)) => set(&mut dropped, low_bits(bits)),
            _ => Ok(()),
        })?;
        events.span.push(span);
        events.time_unix_nano.push(time);
        events.name.push(name);
        events.dropped_attributes_count.push(dropped);
        Ok(())
    }

    fn link(&mut self, message: &[u8], outer: Depth, span: i32) -> Result<(), Malformed> {
        let attributes = &mut self.tables.link_attributes;
        let link = Link::read(message, outer.deeper()?, attributes)?;
        let links = &mut self.tables.links;
        links.span.push(span);
        links.trace_id.push_hex(link.trace_id);
        links.span_id.push_hex(link.span_id);
        links.trace_state.push(link.trace_state);
        links.flags.push(link.flags);
        links.dropped_attributes_count.push(link.dropped_attributes_count);
        Ok(())
    }
}
